"""The compose file and the files laid over it, as docker reads them, and what their one-off services run."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

import runner
from runner.settings.settings import Settings, load_settings, variables_for
from tests.deploy.composed import ComposeError, composed
from tests.paths import ROOT

COMPOSE = (ROOT / "docker-compose.yml").read_text()
OVERLAYS = sorted((ROOT / "deploy").glob("*.yml"))
STACKS = {
    "docker-elk": ("ELASTIC_PASSWORD=theirs", "docker-elk_elk", "http://elasticsearch:9200", ""),
    "start-local": ("ES_LOCAL_PASSWORD=theirs", "elastic-start-local_default", "http://elasticsearch:9200", ""),
    "elastic-container": (
        "ELASTIC_PASSWORD=theirs",
        "elastic-container_default",
        "https://ecp-elasticsearch:9200",
        "/ca/ca.crt",
    ),
}
"""By file of `deploy`: the one line that is needed beside its name, the network, the cluster, and its CA."""


def bare(service: Mapping[str, Any]) -> Settings:
    """The settings of a service whose certificates and secrets are not here."""
    environ = {name: value for name, value in service["environment"].items() if not name.endswith(("_FILE", "_CERTS"))}
    return load_settings({}, environ=environ)


def sources(service: Mapping[str, Any]) -> dict[str, str]:
    """What is mounted, by its place in the container."""
    return {volume["target"]: volume["source"] for volume in service["volumes"]}


def script_of(service: str) -> str:
    """The bash script of a one-off service, as its shell gets it."""
    found = re.search(
        rf"^  {service}:\n(?:    .*\n|\n)*?    command:\n      - \|\n((?:        .*\n|\n)+)", COMPOSE, re.M
    )
    assert found is not None
    return re.sub(r"^        ", "", found[1], flags=re.M).replace("$$", "$")


def test_images_are_pinned_and_ports_are_local() -> None:
    version = dotenv_values(ROOT / ".env.example")["STACK_VERSION"] or ""
    assert re.fullmatch(r"8\.19\.\d+", version)
    for file in (COMPOSE, *(path.read_text() for path in OVERLAYS)):
        images = re.findall(r"^\s*image: (\S+)", file, re.MULTILINE)
        for image in images:
            assert image.endswith((f":{runner.__version__}", f":${{STACK_VERSION:-{version}}}")), image
        assert all(port.startswith('["127.0.0.1:') for port in re.findall(r"^\s*ports: (.+)$", file, re.MULTILINE))
    assert len(re.findall(r"^\s*ports: ", COMPOSE, re.MULTILINE)) == 4  # two servers, and the runner in either profile


def test_a_container_gets_every_setting_that_it_can_use() -> None:
    # The clock and output for a reader are for the command line.
    handed = set(re.findall(r"^\s+([A-Z_]+): ", COMPOSE, re.MULTILINE))
    wanted = {variables_for(field)[0] for field in Settings.model_fields if field not in {"now", "output"}}
    assert wanted - handed == set()


@pytest.mark.slow
def test_the_stack(tmp_path: Path) -> None:
    project = composed(tmp_path, (ROOT / ".env.example").read_text())
    names = {"certs", "elasticsearch", "users", "kibana", "setup", "kibana-objects", "runner"}
    assert set(project["services"]) == names
    for name in names:
        service = project["services"][name]
        assert service["mem_limit"], name
        if service["image"].startswith("rule-runner:"):
            assert bare(service).elasticsearch_hosts, name
            assert_confined(service)


def assert_confined(service: Mapping[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == "10001:10001"


@pytest.mark.slow
def test_the_profile_existing_needs_the_connection_and_nothing_else(tmp_path: Path) -> None:
    env = "COMPOSE_PROFILES=existing\nELASTICSEARCH_HOSTS=https://host.docker.internal:9200\nELASTICSEARCH_API_KEY=k\n"
    project = composed(tmp_path, env)
    assert project["said"] == ""
    assert set(project["services"]) == {"runner-existing"}
    service = project["services"]["runner-existing"]
    assert_confined(service)
    settings = bare(service)
    assert settings.elasticsearch_hosts == ("https://host.docker.internal:9200",)
    assert settings.secrets() == ("k",)
    assert settings.events == ()
    assert settings.warnings() == ()
    assert service["extra_hosts"] in (["host.docker.internal=host-gateway"], ["host.docker.internal:host-gateway"])


@pytest.mark.slow
def test_events_of_the_host_without_a_cluster(tmp_path: Path) -> None:
    project = composed(tmp_path, "COMPOSE_PROFILES=existing\nEVENTS_FOLDER=./log\nRULE_RUNNER_GROUP=4\n")
    service = project["services"]["runner-existing"]
    assert sources(service)["/events"] == str(tmp_path / "log")
    assert service["group_add"] == ["4"]
    settings = bare(service)
    assert (settings.events, str(settings.state)) == (("/events",), "/var/lib/rule-runner/rule-runner.db")
    part = composed(tmp_path, "COMPOSE_PROFILES=existing\nEVENTS_FOLDER=./log\nRUNNER_EVENTS=events/a.ndjson\n")
    service = part["services"]["runner-existing"]
    assert (bare(service).events, service["working_dir"]) == (("events/a.ndjson",), "/")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["API_KEY", "PASSWORD", "BEARER_TOKEN", "PROXY"])
def test_a_secret_file_reaches_the_container(name: str, tmp_path: Path) -> None:
    variable, secret = f"ELASTICSEARCH_{name}_FILE", f"elasticsearch_{name.lower()}"
    project = composed(tmp_path, f"COMPOSE_PROFILES=existing\nELASTICSEARCH_HOSTS=https://es\n{variable}=keys/one\n")
    service = project["services"]["runner-existing"]
    assert service["environment"][variable] == f"/run/secrets/{secret}"
    assert secret in [item["source"] for item in service["secrets"]]
    assert project["secrets"][secret]["file"] == str(tmp_path / "keys" / "one")
    unset = {other for other in project["secrets"] if other != secret}
    assert {project["secrets"][other]["file"] for other in unset} == {"/dev/null"}


def test_paths_of_the_container_do_not_break_the_command_line_of_the_host(tmp_path: Path) -> None:
    """The same .env, read by the two."""
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "ca.crt").write_text("")
    for path in ("/certs/ca.crt", "certs/ca.crt"):
        (tmp_path / ".env").write_text(f"ELASTICSEARCH_HOSTS=https://es\nELASTICSEARCH_CA_CERTS={path}\n")
        done = subprocess.run(
            ["rule-runner", "check"], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment()
        )
        assert (done.returncode, done.stderr) == (0, ""), path


def environment() -> dict[str, str]:
    """An empty one, but for where this program is."""
    return {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}


@pytest.mark.slow
@pytest.mark.parametrize("name", STACKS)
def test_beside_a_stack(name: str, tmp_path: Path) -> None:
    line, network, host, ca = STACKS[name]
    env = f"COMPOSE_FILE=docker-compose.yml:deploy/{name}.yml\nCOMPOSE_PROFILES=existing\n"
    project = composed(tmp_path, f"{env}{line}\n")
    assert project["networks"]["default"]["name"] == network
    assert project["networks"]["default"]["external"] is True
    services = project["services"]
    assert set(services) == {"access", "runner-existing"} | ({"ca"} if ca else set())
    access, service = services["access"], services["runner-existing"]
    for one in (access, service):
        assert_confined(one)
        assert bare(one).elasticsearch_hosts == (host,)
        assert one["environment"]["ELASTICSEARCH_CA_CERTS"] == ca
    assert bare(access).secrets() == ("theirs",)
    # What the job writes is what the runner waits for and reads.
    key = access["command"][-1]
    assert access["command"] == ["setup", "--roles", "--no-kibana", "--api-key", key]
    assert service["environment"]["ELASTICSEARCH_API_KEY_FILE"] == key
    assert service["depends_on"]["access"]["condition"] == "service_completed_successfully"
    volume = sources(access)[str(Path(key).parent)]
    assert sources(service)[str(Path(key).parent)] == volume == "runner-state"
    with pytest.raises(ComposeError, match=rf"{line.partition('=')[0]}.*set it in \.env"):
        composed(tmp_path, env)


@pytest.mark.slow
def test_the_authority_of_elastic_container_is_copied_without_its_keys(tmp_path: Path) -> None:
    env = "COMPOSE_FILE=docker-compose.yml:deploy/elastic-container.yml\nCOMPOSE_PROFILES=existing\n"
    project = composed(tmp_path, f"{env}ELASTIC_PASSWORD=theirs\nELASTIC_CONTAINER_PROJECT=other\n")
    assert project["volumes"]["elastic-container-certs"] == {"name": "other_certs", "external": True}
    assert project["networks"]["default"]["name"] == "other_default"
    assert sources(project["services"]["ca"]) == {"/theirs": "elastic-container-certs", "/ca": "ca"}
    assert "elastic-container-certs" not in sources(project["services"]["runner-existing"]).values()
    # The step itself, in folders in place of the volumes.
    theirs, ours = tmp_path / "theirs" / "ca", tmp_path / "ca"
    theirs.mkdir(parents=True)
    ours.mkdir()
    for name in ("ca.crt", "ca.key"):
        (theirs / name).write_text(name)
        (theirs / name).chmod(0o640)
    step = [*project["services"]["ca"]["entrypoint"][:-2], theirs / "ca.crt", ours / "ca.crt"]
    subprocess.run(step, check=True, env={"PATH": "/usr/bin:/bin"})
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in ours.iterdir()} == {"ca.crt": 0o644}


@pytest.mark.slow
def test_docker_elk_with_tls(tmp_path: Path) -> None:
    env = "COMPOSE_FILE=docker-compose.yml:deploy/docker-elk.yml\nCOMPOSE_PROFILES=existing\nELASTIC_PASSWORD=theirs\n"
    service = composed(tmp_path, f"{env}DOCKER_ELK_CA=../elk/ca.crt\n")["services"]["runner-existing"]
    assert service["environment"]["ELASTICSEARCH_HOSTS"] == "https://elasticsearch:9200"
    inside = service["environment"]["ELASTICSEARCH_CA_CERTS"]
    assert sources(service)[inside] == str(tmp_path.parent / "elk" / "ca.crt")


@pytest.mark.slow
def test_a_network_to_join(tmp_path: Path) -> None:
    env = "COMPOSE_FILE=docker-compose.yml:deploy/network.yml\nCOMPOSE_PROFILES=existing\n"
    project = composed(tmp_path, f"{env}STACK_NETWORK=theirs\nELASTICSEARCH_HOSTS=https://es01\n")
    assert project["networks"]["default"]["name"] == "theirs"
    assert set(project["services"]) == {"runner-existing"}
    with pytest.raises(ComposeError, match="docker network ls"):
        composed(tmp_path, env)


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.name)
def test_every_variable_of_a_file_laid_over_is_named_in_its_head(path: Path) -> None:
    text = path.read_text()
    head = re.match(r"(?:#.*\n)+", text)
    assert head is not None
    assert f"deploy/{path.name}" in head[0]
    missing = set(re.findall(r"\$\{([A-Z_]+)", text)) - set(re.findall(r"\b([A-Z_]+)=", head[0])) - {"KIBANA_URL"}
    assert missing == set()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ELASTIC_PASSWORD": ""}, "ELASTIC_PASSWORD is not set in .env"),
        ({"KIBANA_PASSWORD": "change-me-kibana"}, "KIBANA_PASSWORD in .env is still the placeholder"),
        ({"RULE_RUNNER_PASSWORD": 'quo"te'}, "RULE_RUNNER_PASSWORD in .env: expected letters"),
        ({"KIBANA_ENCRYPTION_KEY": "short"}, "expected 32 characters or more"),
    ],
)
def test_the_stack_refuses_to_start_without_passwords(changed: dict[str, str], said: str) -> None:
    names = ("ELASTIC_PASSWORD", "KIBANA_PASSWORD", "RULE_RUNNER_PASSWORD", "KIBANA_ENCRYPTION_KEY")
    environ = dict.fromkeys(names, "p" * 32) | changed | {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["/bin/bash", "-euc", script_of("certs").split("work=", maxsplit=1)[0]],
        env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert said in done.stderr
