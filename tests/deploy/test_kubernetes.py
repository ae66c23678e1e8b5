"""The manifests of deploy/kubernetes: valid, locked down, and in step with the image and the settings."""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import runner
from runner.rules.discovery import CONFIG_FILE
from runner.settings.schema import SCHEMA_FILE
from tests.paths import ROOT

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")

FOLDER = ROOT / "deploy" / "kubernetes"
VARIANTS = ("base", "volume", "once")
VERSIONS = ("1.29.0", kubernetes_validate.latest_version())
"""Of Kubernetes: one that is still met, and the newest that the validator knows."""
PATCHES = {FOLDER / "volume" / "deployment.yaml"}
"""Files that are laid over another, and are no whole manifest."""


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(FOLDER.rglob("*.yaml")):
        if path.name != "kustomization.yaml" and path not in PATCHES:
            yield str(path.relative_to(FOLDER)), yaml.safe_load(path.read_text())


MANIFESTS = dict(manifests())


def built(variant: str) -> list[dict[str, Any]]:
    """What kustomize makes of a variant; skips where neither it nor kubectl is installed."""
    tools = {"kustomize": ["kustomize", "build"], "kubectl": ["kubectl", "kustomize"]}
    tool = next((words for name, words in tools.items() if shutil.which(name)), None)
    if tool is None:
        pytest.skip("neither kustomize nor kubectl is installed")
    done = subprocess.run([*tool, FOLDER / variant], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]
    spec = spec["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else spec
    pod: dict[str, Any] = spec["template"]["spec"]
    return pod


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_is_valid(name: str, version: str) -> None:
    kubernetes_validate.validate(MANIFESTS[name], version, strict=True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_applied_is_valid(variant: str) -> None:
    found = built(variant)
    for manifest in found:
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)
    kinds = {manifest["kind"] for manifest in found}
    assert ("CronJob" in kinds) == (variant == "once")
    assert ("Deployment" in kinds) == (variant != "once")
    assert ("PersistentVolumeClaim" in kinds) == (variant == "volume")
    (pod,) = (pod_of(manifest) for manifest in found if manifest["kind"] in ("CronJob", "Deployment"))
    assert pod["containers"][0]["image"] == f"ghcr.io/rule-runner/rule-runner:{runner.__version__}"
    claims = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == claims
    given = {manifest["metadata"]["name"] for manifest in found if manifest["kind"] == "ConfigMap"}
    assert {volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume} == given


@pytest.mark.parametrize("name", ["base/deployment.yaml", "once/cronjob.yaml"])
def test_pods_meet_the_restricted_standard(name: str) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and more."""
    pod = pod_of(MANIFESTS[name])
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    user = pod["securityContext"]
    assert f"USER {user['runAsUser']}:{user['runAsGroup']}" in (ROOT / "Dockerfile").read_text().splitlines()
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert not any("secret" in variable.get("valueFrom", {}) for variable in container["env"])


def test_the_service_is_probed_where_it_listens() -> None:
    (container,) = pod_of(MANIFESTS["base/deployment.yaml"])["containers"]
    settings = tomllib.loads((FOLDER / "base" / CONFIG_FILE).read_text())
    assert settings["listen"].endswith(f":{container['ports'][0]['containerPort']}")
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert [probe["path"] for probe in probes.values()] == ["/healthz", "/healthz", "/readyz"]
    assert {probe["port"] for probe in probes.values()} == {container["ports"][0]["name"]}


@pytest.mark.parametrize("folder", ["base", "volume"])
def test_the_settings_are_settings(folder: str) -> None:
    settings = tomllib.loads((FOLDER / folder / CONFIG_FILE).read_text())
    assert set(settings) <= set(json.loads(SCHEMA_FILE.read_text())["properties"])
    mounts = {
        mount["mountPath"] for mount in pod_of(MANIFESTS["base/deployment.yaml"])["containers"][0]["volumeMounts"]
    }
    paths = [value for value in settings.values() if isinstance(value, str) and value.startswith("/")]
    assert paths
    assert all(str(Path(path).parent) in mounts for path in paths)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_a_variant_names_is_there(variant: str) -> None:
    made = yaml.safe_load((FOLDER / variant / "kustomization.yaml").read_text())
    named = [*made["resources"], *(one["path"] for one in made.get("patches", ()) if "path" in one)]
    named += [file for one in made.get("configMapGenerator", ()) for file in one["files"]]
    assert [name for name in named if not (FOLDER / variant / name).exists()] == []
    assert {image["newTag"] for image in made.get("images", ())} <= {runner.__version__}
