"""What a worker tells Flower of its tasks: what came within a moment is sent as one message.

Celery sends it at every turn of its loop, which was a third of its own part of a job: published
over and over beside the device thread, which wants the interpreter.
"""

from __future__ import annotations

from typing import Any

from celery import bootsteps
from celery.worker.consumer import Consumer
from celery.worker.consumer.events import Events

EVENTS_S = 0.25


class EventsTogether(bootsteps.StartStopStep):  # type: ignore[misc]
    """Sends buffered events on the clock, and what is left when the worker ends."""

    requires = (Events,)

    def __init__(self, parent: Consumer, **options: Any) -> None:
        self._beat: Any = None
        super().__init__(parent, **options)

    def start(self, parent: Consumer) -> None:
        self._beat = parent.timer.call_repeatedly(EVENTS_S, parent._flush_events)

    def stop(self, parent: Consumer) -> None:
        """Sends nothing: the connection may be the reason, and its time-out would hold all up."""
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None

    def shutdown(self, parent: Consumer) -> None:
        parent._flush_events()
