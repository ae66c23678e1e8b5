# make check    format, lint, types and all tests, as they must be before a change lands
# make format   rewrite the code as the formatter wants it
# make test     the quick tests alone; make test ARGS='-k windows', ARGS='-m slow', ARGS=tests/engine
# make bench    the benchmarks
# make ci       what continuous integration runs, from a fresh environment
# make lock     bring deploy/*.lock up to date with what pyproject.toml names; needs uv
# make env      write .env for docker compose, with random passwords; an .env that is there stays
#
# The tools come from the active virtual environment, or from the one that VENV names: make check VENV=.venv

BIN := $(if $(VENV),$(VENV)/bin/,)
PYTHON := $(BIN)python3
LOCK := --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet --upgrade

.PHONY: check format test bench ci env lock

check:
	$(BIN)ruff format --check .
	$(BIN)ruff check .
	$(BIN)mypy
	$(PYTHON) -m pytest -n 3

format:
	$(BIN)ruff format .
	$(BIN)ruff check --fix .

test:
	$(PYTHON) -m pytest -n 3 -m 'not slow' $(ARGS)

bench:
	$(PYTHON) benchmarks/run.py $(ARGS)

ci:
	bash .ci/run

lock:
	$(BIN)uv pip compile pyproject.toml --extra notify $(LOCK) --output-file deploy/requirements.lock
	printf 'hatchling>=1.26,<2\n' | $(BIN)uv pip compile - $(LOCK) --output-file deploy/build.lock

env: .env

.env:
	@umask 077; while IFS= read -r line; do \
	  case "$$line" in \
	    *=change-me*) echo "$${line%%=*}=$$($(PYTHON) -c 'import secrets; print(secrets.token_hex(24))')" ;; \
	    *) printf '%s\n' "$$line" ;; \
	  esac; \
	done < .env.example > .env.new
	@mv .env.new .env
	@echo "wrote .env; sign in to Kibana as elastic with the ELASTIC_PASSWORD in it"
