"""Compose files and Dockerfiles: valid, complete, hardened, and without a secret in them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ("docker-compose.yml", "docker-compose.cpu.yml")
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
VARIABLE = re.compile(r"\$\{(\w+)")


class ComposeLoader(yaml.SafeLoader):
    """YAML with Compose's own `!reset`, which takes a key away."""


ComposeLoader.add_constructor("!reset", lambda loader, node: None)


def load(name: str) -> dict[str, Any]:
    loaded = yaml.load((ROOT / name).read_text(), ComposeLoader)
    assert isinstance(loaded, dict)
    return loaded


def services() -> dict[str, dict[str, Any]]:
    found = load("docker-compose.yml")["services"]
    assert isinstance(found, dict)
    return found


def one_off(service: dict[str, Any]) -> bool:
    return bool(service["restart"].startswith("on-failure"))


def tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name(name)), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def example_variables() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.mark.parametrize("name", COMPOSE)
def test_a_compose_file_follows_the_compose_specification(name: str, tmp_path: Path) -> None:
    plain = tmp_path / "compose.json"
    content = load(name)
    for service in content["services"].values():
        if "deploy" in service and service["deploy"] is None:
            del service["deploy"]
    plain.write_text(json.dumps(content))
    done = tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(plain))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path: Path) -> None:
    done = tool("hadolint", "--no-color", str(path))
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_both_images_have_a_dockerfile_and_the_api_has_no_torch() -> None:
    built = {s["build"]["dockerfile"] for s in services().values() if "build" in s}
    assert built == {f"docker/{path.name}" for path in DOCKERFILES}
    assert ".[api,flower]" in (ROOT / "docker/api.Dockerfile").read_text()
    assert "pip install --index-url" not in (ROOT / "docker/api.Dockerfile").read_text()


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_runs_without_privileges_and_copies_only_what_is_not_ignored(path: Path) -> None:
    text = path.read_text()
    assert re.search(r"^USER [1-9]\d*$", text, re.MULTILINE)
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    }
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)
    assert {source for group in copied for source in group.split()} <= kept
    assert all((ROOT / source).exists() for source in kept)


def test_every_process_of_the_design_is_a_service() -> None:
    assert set(services()) == {
        *("postgres", "valkey", "migrate", "api", "coarse", "fine", "sweep", "flower"),
    }


@pytest.mark.parametrize("name", services())
def test_a_service_restarts_and_is_checked_or_runs_once(name: str) -> None:
    service = services()[name]
    assert one_off(service) or service["restart"] == "unless-stopped"
    assert one_off(service) != ("healthcheck" in service)


@pytest.mark.parametrize("name", services())
def test_a_service_cannot_gain_privileges(name: str) -> None:
    service = services()[name]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service
    if service["image"].startswith("repick-"):
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("name", services())
def test_an_image_from_elsewhere_is_pinned(name: str) -> None:
    image = services()[name]["image"]
    assert image.startswith("repick-") or re.search(r":\d+\.\d+\.\d+", image)


@pytest.mark.parametrize("name", services())
def test_dependencies_are_waited_for_in_the_right_way(name: str) -> None:
    for other, how in services()[name].get("depends_on", {}).items():
        done = "service_completed_successfully"
        assert how["condition"] == (done if one_off(services()[other]) else "service_healthy")


@pytest.mark.parametrize("name", services())
def test_ports_are_published_on_loopback_unless_told_otherwise(name: str) -> None:
    for port in services()[name].get("ports", []):
        assert port.startswith("${BIND_ADDRESS:-127.0.0.1}:")


def test_the_variables_of_compose_are_those_of_the_example() -> None:
    used = {v for name in COMPOSE for v in VARIABLE.findall((ROOT / name).read_text())}
    assert used == set(example_variables())


def test_no_secret_has_a_value_in_the_files() -> None:
    secret = re.compile(r"PASSWORD|SECRET|AUTH|requirepass")
    for name in COMPOSE:
        for line in (ROOT / name).read_text().splitlines():
            if secret.search(line):
                assert re.search(r"\$\{\w+:\?", line), line
    given = {name: value for name, value in example_variables().items() if secret.search(name)}
    assert len(given) == 4
    assert set(given.values()) == {""}


def test_a_missing_secret_stops_compose_instead_of_being_empty() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name, value in example_variables().items():
        if not value:
            assert f"${{{name}:?" in text
            assert f"${{{name}}}" not in text


def test_the_commands_are_modules_of_ours() -> None:
    for service in services().values():
        command = service.get("command", [])
        if command[:2] == ["python", "-m"]:
            path = ROOT / command[2].replace(".", "/")
            assert path.with_suffix(".py").exists() or path.is_dir()


def test_the_fine_worker_reserves_a_gpu_and_the_override_takes_it_away() -> None:
    (device,) = services()["fine"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    override = load("docker-compose.cpu.yml")["services"]["fine"]
    assert override["deploy"] is None
    assert override["environment"]["REPICK_DEVICE"] == "cpu"


def test_whoever_needs_media_shares_one_volume_and_models_are_read_only() -> None:
    for name in ("api", "coarse", "fine"):
        assert "media:/data/media" in services()[name]["volumes"]
    for name in ("coarse", "fine"):
        assert any(v.endswith(":ro") for v in services()[name]["volumes"])
