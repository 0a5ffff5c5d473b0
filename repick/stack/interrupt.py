"""Ctrl-C, SIGTERM and a closed terminal as one exception in the main thread."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Somebody asked the stack to stop; `exit_code` is a shell's for that signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Interruptions:
    """Raises `Interrupted` once, and only where `allowed`; what came earlier is raised then."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._allowed = False
        self._raised = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Take the signals over, and give them back at the end."""
        before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """A stretch of work that may be cut off anywhere."""
        self._allowed = True
        try:
            self._raise()
            yield
        finally:
            self._allowed = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = self._received or number
        self._raise()

    def _raise(self) -> None:
        if self._allowed and self._received is not None and not self._raised:
            self._raised = True
            raise Interrupted(self._received)
