"""Who works beside whom in a worker process, so that a death is blamed on no bystander.

A process that dies takes along whatever its threads hold, and nobody can say whose batch it was.
So whatever was held at a death, or has failed, is tried again alone: nothing else is held then.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Company:
    """Many at once, or one alone; whoever waits to be alone goes before those who come later."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._members = 0
        self._waiting_alone = 0
        self._alone = False

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and not self._waiting_alone)
            self._members += 1
        try:
            yield
        finally:
            with self._changed:
                self._members -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Not to be entered from within the company: it would wait for itself."""
        with self._changed:
            self._waiting_alone += 1
            try:
                self._changed.wait_for(lambda: not self._alone and not self._members)
                self._alone = True
            finally:
                self._waiting_alone -= 1
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()
