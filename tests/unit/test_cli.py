"""The command line without any server: help, wrong usage, and what ends with which code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from repick.cli import main
from repick.cli.app import app
from repick.errors import InvalidField
from repick.loading.sources import open_source, read_lines
from repick.processes import free_port
from repick.settings import Settings


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A data folder with nothing in it, and no settings from outside."""
    for name in ("API_URL", "API_KEY", "DATABASE_URL", "BROKER_URL"):
        monkeypatch.delenv(f"REPICK_{name}", raising=False)
    monkeypatch.setenv("REPICK_DATA_DIR", str(tmp_path))
    return tmp_path


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr("sys.argv", ["repick", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


@pytest.mark.parametrize(
    "command",
    [
        "",
        "up",
        "migrate",
        "corpus",
        "corpus put",
        "corpus load",
        "job",
        "job submit",
        "key create",
        "calibrate",
    ],
)
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_without_a_key_the_error_says_where_to_get_one(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, "corpus", "list") == 1
    assert "REPICK_API_KEY" in capsys.readouterr().err


def test_without_a_database_the_error_says_how_to_get_one(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, "key", "list") == 1
    assert "REPICK_DATABASE_URL" in capsys.readouterr().err


def test_a_wrong_scope_is_refused_before_any_server_is_asked(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, "key", "create", "x", "--scope", "root") == 1
    assert "unknown_scope" in capsys.readouterr().err


def test_an_api_that_does_not_answer_ends_with_1(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("repick.client.transport.ATTEMPTS", 1)
    url = f"http://127.0.0.1:{free_port()}"
    assert run_main(monkeypatch, "job", "list", "--url", url, "--key", "rpk_x") == 1
    assert "cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--text", "a", "--text", "b", "--image", __file__]])
def test_a_submit_needs_texts_or_an_image_with_a_text(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["job", "submit", "c", *arguments]).exit_code == 2


def test_items_are_read_with_images_beside_their_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"png")
    lines = [{"id": "a", "image": "a.png"}, {"id": "b", "text": "x", "metadata": {"n": 1}}]
    file = tmp_path / "items.jsonl"
    file.write_text("\n\n".join(json.dumps(line) for line in lines))
    first, second = read_lines(file)
    assert first.image == tmp_path / "a.png"
    assert (second.text, second.metadata) == ("x", {"n": 1})


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("{", "invalid_line"),
        ("[]", "invalid_line"),
        ("5", "invalid_line"),
        ('{"text": "a"}', "invalid_line"),
        ('{"id": "a", "txt": "b"}', "unknown_field"),
        ('{"id": "a", "image": "none.png"}', "no_such_file"),
        ('{"id": "a", "image": 5}', "invalid_line"),
    ],
)
def test_a_wrong_line_is_named(line: str, code: str, tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    file.write_text('{"id": "good", "text": "a"}\n' + line)
    with pytest.raises(InvalidField) as caught:
        list(read_lines(file))
    assert (caught.value.field, caught.value.code) == ("items.jsonl:2", code)


def test_a_setting_that_cannot_be_used_is_named_without_its_value(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPICK_API_PORT", "eighty")
    monkeypatch.setenv("REPICK_DATABASE_URL", "mysql://me:geheim@127.0.0.1/x")
    said = str(run_main(monkeypatch, "doctor")) + capsys.readouterr().err
    assert "REPICK_API_PORT" in said
    assert "REPICK_DATABASE_URL" in said
    assert "geheim" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_database_address_is_taken_as_providers_print_it(scheme: str) -> None:
    settings = Settings(database_url=f"{scheme}://me:p%40ss@db.example/x?sslmode=require")
    assert settings.database_url == "postgresql+psycopg://me:p%40ss@db.example/x?sslmode=require"


def test_the_command_line_is_a_module_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "repick", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_a_folder_with_nothing_to_load_says_what_it_looks_for(tmp_path: Path) -> None:
    (tmp_path / "photo.heic").write_bytes(b"x")
    with pytest.raises(InvalidField, match=r"\.jpg") as caught:
        open_source(tmp_path)
    assert caught.value.code == "nothing_to_load"


def test_a_shell_is_told_how_a_command_goes_on() -> None:
    typed = {"_REPICK_COMPLETE": "complete_bash", "COMP_WORDS": "repick job ", "COMP_CWORD": "2"}
    told = CliRunner().invoke(app, env=typed, prog_name="repick")
    assert {"submit", "explain", "wait", "list", "cancel"} <= set(told.output.split())
