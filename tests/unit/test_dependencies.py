"""The audit of what is installed: known flaws, bounds, and packages that contradict each other."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
Advisory = Mapping[str, str]


def advisories() -> Sequence[Advisory]:
    found: Sequence[Advisory] = tomllib.loads((ROOT / "deploy/advisories.toml").read_text())[
        "advisory"
    ]
    return found


def flaws(installed: Mapping[str, str], known: Sequence[Advisory]) -> list[str]:
    """What is installed in a version that an advisory is about."""
    return [
        f"{one['package']} {installed[one['package']]}: {one['id']}, mended in {one['fixed']}"
        for one in known
        if one["package"] in installed
        and Version(installed[one["package"]]) < Version(one["fixed"])
    ]


def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [one for group in project["optional-dependencies"].values() for one in group]
    return [Requirement(one) for one in (*project["dependencies"], *extras)]


def test_nothing_installed_has_a_flaw_that_is_known() -> None:
    installed = {canonicalize_name(one.metadata["Name"]): one.version for one in distributions()}
    assert installed["starlette"]
    assert flaws(installed, advisories()) == []


def test_an_old_version_would_be_found() -> None:
    old = {"starlette": "0.49.0", "torch": "2.9.1+cpu", "h11": "0.16.0"}
    found = flaws(old, advisories())
    assert [one.split(":")[0] for one in found] == ["starlette 0.49.0", "torch 2.9.1+cpu"]


def test_every_dependency_has_an_upper_bound() -> None:
    """Types and time zones may be of any version: nothing of them runs."""
    unbounded = [
        one.name
        for one in requirements()
        if not one.name.startswith("types-")
        and one.name not in ("repick", "tzdata")
        and not any(part.operator in ("<", "==", "~=") for part in one.specifier)
    ]
    assert unbounded == []


def test_what_is_installed_fits_together() -> None:
    command = [sys.executable, "-m", "pip", "check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
