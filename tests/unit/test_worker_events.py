"""Task events are sent on the clock, and at a worker's end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from celery.worker.consumer import Consumer

from repick.queue import make_app
from worker.events import EVENTS_S, EventsTogether
from worker.messages import OwnMessages


@dataclass
class Timer:
    repeated: list[tuple[float, Any]] = field(default_factory=list)
    cancelled: int = 0

    def call_repeatedly(self, seconds: float, call: Any) -> Timer:
        self.repeated.append((seconds, call))
        return self

    def cancel(self) -> None:
        self.cancelled += 1


@dataclass
class Hub:
    soon: list[Any] = field(default_factory=list)

    def call_soon(self, call: Any) -> None:
        self.soon.append(call)


def consumer(kind: type[Consumer]) -> Any:
    """One with a real dispatcher for events, whose messages go nowhere but into a list."""
    one = kind.__new__(kind)
    one.timer, one.hub, one._flush_events_promise, published = Timer(), Hub(), object(), []
    one.event_dispatcher = make_app("memory://").events.Dispatcher(
        enabled=False, buffer_group=["task"], on_send_buffered=one.on_send_event_buffered
    )
    one.event_dispatcher.enabled, one.event_dispatcher._closed = True, False
    one.event_dispatcher._publish = lambda events, *_, **__: published.append(list(events))
    one.published = published
    return one


def tell(one: Any, count: int) -> None:
    for no in range(count):
        one.event_dispatcher.send("task-received", uuid=str(no))


def test_events_wait_for_the_clock_and_go_as_one_message() -> None:
    one = consumer(OwnMessages)
    EventsTogether(one).start(one)
    tell(one, 5)
    assert (one.hub.soon, one.published) == ([], [])
    ((seconds, beat),) = one.timer.repeated
    beat()
    assert seconds == EVENTS_S
    assert [len(events) for events in one.published] == [5]


def test_celery_by_itself_sends_at_its_next_turn() -> None:
    one = consumer(Consumer)
    tell(one, 1)
    assert len(one.hub.soon) == 1


def test_a_lost_connection_sends_nothing_and_the_end_sends_what_is_left() -> None:
    one = consumer(OwnMessages)
    step = EventsTogether(one)
    step.start(one)
    tell(one, 2)
    step.stop(one)
    assert (one.timer.cancelled, one.published) == (1, [])
    step.stop(one)
    step.shutdown(one)
    assert (one.timer.cancelled, len(one.published)) == (1, 1)
