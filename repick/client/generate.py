"""The async client, made from the sync one: `python -m repick.client.generate`.

The sync client is the source. What waits in it – its own methods and the transport's, `sleep`, and
httpx's `send` and `close` – waits with `await` in the async one; nothing else differs, so the two
cannot drift apart. A test holds that what is checked in is what this makes.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Set
from pathlib import Path
from typing import TypeGuard

FOLDER = Path(__file__).parent
SOURCES = {
    "transport.py": "async_transport.py",
    "api.py": "async_api.py",
    "schedules.py": "async_schedules.py",
    "runs.py": "async_runs.py",
    "hooks.py": "async_hooks.py",
}
HEADER = "# Made from {source} by `python -m repick.client.generate`: change that instead.\n"

CLASSES = ("Transport", "Client", "Schedules", "Runs", "Webhooks")
ALSO_WAIT = frozenset({"sleep", "send", "close"})
ALSO_STREAM = frozenset({"every"})
NAMES = {
    "httpx.Client(": "httpx.AsyncClient(",
    "httpx.BaseTransport": "httpx.AsyncBaseTransport",
    "self._http.close()": "self._http.aclose()",
    "time.sleep(": "asyncio.sleep(",
    "__enter__": "__aenter__",
    "__exit__": "__aexit__",
    "from repick.client.transport import Transport": (
        "from repick.client.async_transport import AsyncTransport"
    ),
    "from repick.client.schedules import Schedules": (
        "from repick.client.async_schedules import AsyncSchedules"
    ),
    "from repick.client.runs import Runs": "from repick.client.async_runs import AsyncRuns",
    "from repick.client.hooks import Webhooks": (
        "from repick.client.async_hooks import AsyncWebhooks"
    ),
    "for piece in response.iter_bytes(": "async for piece in response.aiter_bytes(",
    "response.read()": "await response.aread()",
    "response.close()": "await response.aclose()",
    "-> Iterator[": "-> AsyncIterator[",
    "Iterator,": "AsyncIterator,",
}


def generate(source: str, name: str) -> str:
    """The async twin of one module of the sync client, not yet formatted."""
    tree = ast.parse(source)
    methods = _methods(tree)
    lines = source.splitlines(keepends=True)
    # From the end; at one place, the bracket that opens stands before its `await`.
    for line, column, text in sorted(_edits(tree, methods), key=_place, reverse=True):
        # ast counts columns in bytes
        encoded = lines[line - 1].encode()
        lines[line - 1] = (encoded[:column] + text.encode() + encoded[column:]).decode()
    text = "".join(lines)
    for old, new in NAMES.items():
        text = text.replace(old, new)
    for one in CLASSES:
        text = re.sub(rf"\b{one}\b(?!\w)", f"Async{one}", text)
    if "asyncio." in text:
        text = text.replace("import time\n", "import asyncio\nimport time\n", 1)
    return HEADER.format(source=name) + text


def _place(edit: tuple[int, int, str]) -> tuple[int, int, bool]:
    return (edit[0], edit[1], edit[2] != "(")


def _methods(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    """Methods of the classes that wait: all but the constructor."""
    return {
        method.name: method
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name in CLASSES
        for method in node.body
        if isinstance(method, ast.FunctionDef) and method.name != "__init__"
    }


def _edits(tree: ast.Module, methods: dict[str, ast.FunctionDef]) -> list[tuple[int, int, str]]:
    """What to insert, as (line, column, text)."""
    edits = [(method.lineno, method.col_offset, "async ") for method in methods.values()]
    streams = {name for name, one in methods.items() if _yields(one)} | ALSO_STREAM
    awaited = {*methods, "request", "save"} - streams | ALSO_WAIT
    for method in methods.values():
        for node in ast.walk(method):
            if _waits(node, awaited):
                edits.append((node.lineno, node.col_offset, "await "))
            if isinstance(node, ast.Attribute | ast.Subscript) and _waits(node.value, awaited):
                end = node.value.end_lineno or 0, node.value.end_col_offset or 0
                edits.append((node.lineno, node.col_offset, "("))
                edits.append((*end, ")"))
            if isinstance(node, ast.For) and _waits(node.iter, streams):
                edits.append((node.lineno, node.col_offset, "async "))
    return edits


def _yields(method: ast.FunctionDef) -> bool:
    return any(isinstance(node, ast.Yield) for node in ast.walk(method))


def _waits(node: ast.AST, names: Set[str]) -> TypeGuard[ast.Call]:
    """Whether a call is of one of these names on what waits: the client, what it holds, `time`."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    waits_on = ast.unparse(node.func.value)
    return node.func.attr in names and waits_on in {"self", "self._api", "self._http", "time"}


def formatted(text: str) -> str:
    """As ruff formats it, without the brackets and imports that are too many."""
    name = str(FOLDER / "async_api.py")
    for command in (
        ["check", "--fix-only", "--select", "F401,I,RUF100,UP034", "--quiet"],
        ["format"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", name, "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        )
        text = done.stdout
    return text


def main() -> None:
    for source, target in SOURCES.items():
        made = formatted(generate((FOLDER / source).read_text(), source))
        (FOLDER / target).write_text(made)


if __name__ == "__main__":
    main()
