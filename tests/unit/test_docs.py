"""What README and docs tell readers to type is what there is: commands, options, settings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from api.app import create_app
from repick.cli.app import app
from repick.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
COMMAND = re.compile(
    r"(?:^|`|\. )(?:\.venv/bin/|docker compose (?:exec|run --rm) api )?repick (.+)"
)
NOT_SETTINGS = {"REPICK_API_URL", "REPICK_API_KEY"}
"""Of clients: the service itself does not read them."""


def commands() -> Iterator[tuple[str, str]]:
    """(page, what stands behind `repick`) of each line of shell and each command in a sentence."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
            for line in block.splitlines():
                if found := COMMAND.match(line.strip()):
                    yield page.name, found[1].partition(" #")[0].strip()
        for quoted in re.findall(r"`(?:\.venv/bin/)?repick ([^`\n]+)`", text):
            yield page.name, quoted


def known(group: Any, words: list[str]) -> str | None:
    """What is wrong with these words as a command line, or None."""
    while words and hasattr(group, "commands") and not words[0].startswith("-"):
        name = words.pop(0)
        if name == "…":
            return None
        if name not in group.commands and "|" not in name:
            return f"no command {name}"
        if "|" in name:
            return next(
                (f"no command {one}" for one in name.split("|") if one not in group.commands), None
            )
        group = group.commands[name]
    options = {flag for one in group.params for flag in one.opts} | {"--help"}
    return next(
        (f"no option {one}" for one in words if one.startswith("--") and one not in options), None
    )


@pytest.mark.parametrize(("page", "command"), sorted(set(commands())))
def test_a_command_of_the_docs_exists_with_its_options(page: str, command: str) -> None:
    assert known(get_command(app), shlex.split(command.replace("'", ""))) is None, page


def test_a_setting_of_the_docs_exists() -> None:
    there = {f"REPICK_{name.upper()}" for name in Settings.model_fields} | NOT_SETTINGS
    for page in [*PAGES, ROOT / "docker-compose.yml", ROOT / ".env.example"]:
        named = set(re.findall(r"REPICK_[A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8")))
        assert named <= there, page.name


def test_the_defaults_of_the_tuning_table_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([\d.]+) \|", text, re.MULTILINE)
    assert rows
    told = {name.lower(): float(value) for name, value in rows}
    assert told == {name: float(Settings.model_fields[name].default) for name in told}


def test_every_address_of_the_api_is_in_the_docs() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for path in create_app(Settings()).openapi()["paths"]:
        last = path.rstrip("/").rpartition("/")[2]
        first = path.split("/")[2] if path.startswith("/v1/") else last
        assert first in text, path
        assert last.startswith("{") or last in text, path
