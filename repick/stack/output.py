"""The output of child processes: each line into the process's own log, and onto the terminal."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.text import Text

STYLES = ("cyan", "magenta", "yellow", "green", "blue", "bright_red", "bright_cyan")


class Printer:
    """Prints lines of several processes, each behind its name in a colour of its own."""

    def __init__(self, console: Console, *, quiet: bool, width: int = 7) -> None:
        self.console = console
        self.quiet = quiet
        self._width = width
        self._styles: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        """What tells a child that a person reads its lines, although it writes to a pipe."""
        return {} if self.quiet or not self.console.is_terminal else {"FORCE_COLOR": "1"}

    def line(self, name: str, text: str | Text) -> None:
        """One line of a process; safe from several threads."""
        if self.quiet:
            return
        text = Text(text) if isinstance(text, str) else text
        style = self._styles.setdefault(name, STYLES[len(self._styles) % len(STYLES)])
        prefix = Text(f"{name:<{self._width}} │ ", style=style)
        self.console.print(prefix + text, soft_wrap=True)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """A spinner where logs are kept off the terminal; else a line that says what goes on."""
        if self.quiet:
            with self.console.status(what):
                yield
        else:
            self.line("repick", what)
            yield


class Tail(threading.Thread):
    """Reads a process's output to its end; keeps the last lines for an error's message."""

    def __init__(self, name: str, stream: IO[bytes], log: Path, printer: Printer) -> None:
        super().__init__(name=f"output of {name}", daemon=True)
        self._name, self._stream, self._log, self._printer = name, stream, log, printer
        self.last: deque[str] = deque(maxlen=20)

    def run(self) -> None:
        with self._stream, self._log.open("ab") as log:
            for raw in self._stream:
                text = Text.from_ansi(raw.decode(errors="replace").rstrip())
                log.write(text.plain.encode() + b"\n")
                log.flush()
                self.last.append(text.plain)
                self._printer.line(self._name, text)
