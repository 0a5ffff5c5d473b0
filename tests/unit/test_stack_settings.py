"""Which settings a local stack takes from the demo's models, and which from its user."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from repick.settings import Settings
from repick.stack.addresses import Addresses
from repick.stack.services import WORKERS_NICENESS, LocalSecrets, environment, services

DEMO = {
    "encoder": "demo/encoder",
    "encoder_name": "demo-encoder",
    "scorer": "demo/judge",
    "scorer_name": "demo-judge",
    "min_pixels": 9216,
    "max_pixels": 9216,
}


def made(settings: Settings) -> dict[str, str]:
    addresses = Addresses("http://h:1", "key", Path("k"), "http://h:2", "p", "d", "b", Path("data"))
    return environment(settings, addresses, LocalSecrets("s", "p"), DEMO)


@pytest.fixture(autouse=True)
def no_settings_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DEMO:
        monkeypatch.delenv(f"REPICK_{name.upper()}", raising=False)


def test_without_models_of_the_user_all_of_the_demos_settings_hold() -> None:
    found = made(Settings())
    assert {name: found[f"REPICK_{name.upper()}"] for name in DEMO} == {
        name: str(value) for name, value in DEMO.items()
    }


def test_a_scorer_of_the_user_comes_without_the_demos_name_and_size() -> None:
    found = made(Settings(scorer="mine"))
    assert found["REPICK_SCORER"] == "mine"
    assert found["REPICK_ENCODER_NAME"] == "demo-encoder"
    assert not found.keys() & {"REPICK_SCORER_NAME", "REPICK_MIN_PIXELS", "REPICK_MAX_PIXELS"}


def test_an_encoder_of_the_user_leaves_the_demos_scorer_as_it_is() -> None:
    found = made(Settings(encoder="mine", max_pixels=5))
    assert (found["REPICK_ENCODER"], found["REPICK_SCORER"]) == ("mine", "demo/judge")
    assert "REPICK_ENCODER_NAME" not in found
    assert (found["REPICK_MIN_PIXELS"], found["REPICK_MAX_PIXELS"]) == ("9216", "5")


def test_threads_of_a_stacks_processes_do_not_spin_unless_told_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert {one.environment["OMP_WAIT_POLICY"] for one in services({})} == {"PASSIVE"}
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert {one.environment["OMP_WAIT_POLICY"] for one in services({})} == {"ACTIVE"}


def test_workers_keep_a_passs_memory_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    found = {one.name: one.environment.get("MALLOC_TRIM_THRESHOLD_") for one in services({})}
    kept = str(256 * 1024 * 1024)
    assert found == {"api": None, "coarse": kept, "fine": kept, "sweep": None, "flower": None}
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    assert services({})[1].environment["MALLOC_TRIM_THRESHOLD_"] == "1"


def test_workers_alone_leave_the_cores_to_others() -> None:
    found = {one.name: one.niceness for one in services({})}
    assert found == {
        "api": 0,
        "coarse": WORKERS_NICENESS,
        "fine": WORKERS_NICENESS,
        "sweep": 0,
        "flower": 0,
    }
    assert WORKERS_NICENESS > 0


@pytest.mark.parametrize("process", ["api", "repick.sweep", "repick.health sweep"])
def test_a_process_without_its_servers_names_the_variables(process: str, tmp_path: Path) -> None:
    done = _ended(process, tmp_path)
    assert done.stderr.splitlines() == [
        "error: REPICK_DATABASE_URL is not set",
        "error: REPICK_BROKER_URL is not set",
    ]


def test_flower_on_a_port_that_is_taken_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        variables = {
            "REPICK_FLOWER_PASSWORD": "password",
            "REPICK_FLOWER_PORT": str(port),
            "REPICK_BROKER_URL": "redis://127.0.0.1:1/0",
        }
        done = _ended("repick.flower", tmp_path, **variables)
    assert done.stderr.splitlines()[-1].startswith("error: Flower did not start")
    assert "Traceback" not in done.stderr


def _ended(process: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A process of ours that refuses to start, with these variables alone."""
    done = subprocess.run(
        [sys.executable, "-m", *process.split()],
        env={"PYTHONPATH": str(Path(__file__).parents[2])} | variables,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    return done
