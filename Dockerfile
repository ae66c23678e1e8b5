# syntax=docker/dockerfile:1.7@sha256:a57df69d0ea827fb7266491f2813635de6f17269be881f696fbfdf2d83dda33e

# Everything that is not ours is named by its digest: the base image, and every package by the hashes of the two lock files
# (`make lock` brings them up to date).

# Stage 1: the wheel of rule-runner, and everything it needs, installed into a virtual environment.
FROM python:3.13.14-slim-bookworm@sha256:67a1e1f215ccda113cfc024e8639049257e88f273898f595b61476d128d387e8 AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY deploy/build.lock deploy/requirements.lock ./deploy/
COPY runner ./runner
COPY rules ./rules

# The environment has no pip of its own: what runs in production installs nothing. Byte code is compiled here, for the root
# file system of the container is read-only.
RUN pip install --require-hashes --requirement deploy/build.lock \
    && pip wheel --no-build-isolation --no-deps --wheel-dir /wheels . \
    && python -m venv --without-pip /opt/rule-runner \
    && pip --python /opt/rule-runner/bin/python install --require-hashes --compile --requirement deploy/requirements.lock \
    && pip --python /opt/rule-runner/bin/python install --no-index --no-deps --compile /wheels/rule_runner-*.whl \
    && pip --python /opt/rule-runner/bin/python check \
    && /opt/rule-runner/bin/rule-runner --help > /dev/null

# Stage 2: the interpreter and that environment.
FROM python:3.13.14-slim-bookworm@sha256:67a1e1f215ccda113cfc024e8639049257e88f273898f595b61476d128d387e8

ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="rule-runner" \
      org.opencontainers.image.description="Elastic's detection rules, run on a schedule wherever the events are" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0 AND Elastic-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13.14-slim-bookworm"

RUN groupadd --system --gid 10001 runner \
    && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/rule-runner --shell /usr/sbin/nologin runner \
    && install --directory --owner=10001 --group=10001 --mode=0750 /var/lib/rule-runner

COPY --from=build /opt/rule-runner /opt/rule-runner

ENV PATH="/opt/rule-runner/bin:${PATH}" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RUNNER_STATE=/var/lib/rule-runner/rule-runner.db

# By number, so that Kubernetes can check runAsNonRoot. Only the state folder and /tmp need to be writable.
USER 10001:10001
WORKDIR /var/lib/rule-runner
VOLUME ["/var/lib/rule-runner"]

STOPSIGNAL SIGTERM

# Asks whether the service still looks for what is due and could search, not merely whether a process is there.
HEALTHCHECK --interval=1m --timeout=20s --start-period=1m --start-interval=5s --retries=3 \
    CMD ["rule-runner", "status", "--check"]

ENTRYPOINT ["rule-runner"]
CMD ["run"]
