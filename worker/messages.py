"""What a worker takes from the broker: our own messages, and nothing else.

Whoever can write into the broker could otherwise stop workers: Celery ends on some bodies that are
no message of its form, and a message that is not acknowledged comes back to the next worker.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID

import structlog
from celery.worker.consumer import Consumer
from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.message import Message

from repick.queue import EMBED, TASK

log = structlog.get_logger(__name__)

_TASKS = frozenset({*TASK.values(), EMBED})
_NOT_USED = ("eta", "expires", "group", "chord", "compression")
MAX_BYTES = 4096
"""Of a body; ours have about a hundred."""


def refusal(message: Message) -> str | None:
    """Why a message is none of ours; None where it is one."""
    headers = message.headers
    if not isinstance(headers, dict) or not isinstance(headers.get("id"), str):
        return "headers"
    task = headers.get("task")
    if not isinstance(task, str) or task not in _TASKS:
        return "task"
    if any(headers.get(name) is not None for name in _NOT_USED):
        return "options"
    if (message.content_type, message.content_encoding) != ("application/json", "utf-8"):
        return "content type"
    return _body_refusal(task, message)


def _body_refusal(task: str, message: Message) -> str | None:
    if len(message.body) > MAX_BYTES:
        return "size"
    try:
        body = message.payload
    except (ContentDisallowed, DecodeError):
        return "encoding"
    if not isinstance(body, list) or len(body) != 3:
        return "form"
    args, kwargs, embedded = body
    if not isinstance(args, list) or len(args) != 1 or kwargs != {}:
        return "arguments"
    if not isinstance(embedded, dict) or any(one is not None for one in embedded.values()):
        return "callbacks"
    return None if _is_id(task, args[0]) else "argument"


def _is_id(task: str, value: object) -> bool:
    if task == EMBED:
        return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63
    if not isinstance(value, str):
        return False
    try:
        return str(UUID(value)) == value
    except ValueError:
        return False


class OwnMessages(Consumer):  # type: ignore[misc]
    """Celery's consumer behind `refusal`: what is refused is taken off the queue, and logged.

    It also outlives a connection that ends again while it is being closed, where kombu raises an
    AttributeError of a channel without a client, and Celery would end the worker.
    """

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Message], None]:
        handle = super().create_task_handler(*args, **kwargs)

        def received(message: Message) -> None:
            settles: Any = message
            settles.ack_log_error = while_open(message, message.ack_log_error)
            settles.reject_log_error = while_open(message, message.reject_log_error)
            reason = refusal(message)
            if reason is None:
                handle(message)
                return
            log.warning("message refused", reason=reason)
            settles.reject_log_error(logging.getLogger(__name__), self.connection_errors)

        return received

    def on_send_event_buffered(self) -> None:
        """Left to `EventsTogether`."""

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        try:
            super().on_connection_error_after_connected(exc)
        except AttributeError as unexpected:  # the rest of it is for what we do not use
            log.warning("the connection had ended already", reason=str(unexpected))


def while_open(message: Message, settle: Callable[..., None]) -> Callable[..., None]:
    """Acknowledge or reject a message, or let it be where its channel has lost its connections.

    It comes again from whoever finds it unacknowledged, and then finds nothing to do.
    """

    def settled(*args: Any, **kwargs: Any) -> None:
        try:
            settle(*args, **kwargs)
        except AttributeError:
            transport = message.channel.connection
            if transport is not None and transport.client is not None:
                raise
            log.info("not acknowledged: the connection is gone")

    return settled
