"""A worker's consumer and a connection to the broker that ends at a bad moment."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from celery.worker.consumer import Consumer
from kombu import Connection, Queue
from kombu.message import Message

from worker.messages import OwnMessages, while_open

LOG = logging.getLogger(__name__)


@pytest.fixture(params=["without a transport", "whose transport has no client"])
def late(request: pytest.FixtureRequest, broker_url: str) -> Message:
    """A message that was taken over connections of which none is left: two ways to be so."""
    with Connection(broker_url) as connection:
        queue = Queue("late", channel=connection.default_channel)
        queue.declare()
        connection.Producer().publish("a body", routing_key="late")
        message: Message = queue.get()
        transport = message.channel.connection
    if request.param == "whose transport has no client":
        message.channel.connection, transport.client = transport, None
    message.channel._disconnect_pools()  # as kombu does where one of its connections breaks
    return message


def test_a_message_is_not_acknowledged_over_a_connection_that_is_gone(late: Message) -> None:
    with pytest.raises(AttributeError):  # which no caller in Celery expects: it ends the worker
        late.ack_log_error(LOG, (OSError,))
    while_open(late, late.ack_log_error)(LOG, (OSError,))
    while_open(late, late.reject_log_error)(LOG, (OSError,))
    assert not late.acknowledged


def test_a_message_is_acknowledged_over_one_that_is_there(broker_url: str) -> None:
    with Connection(broker_url) as connection:
        queue = Queue("live", channel=connection.default_channel)
        queue.declare()
        connection.Producer().publish("a body", routing_key="live")
        message: Message = queue.get()
        while_open(message, message.ack_log_error)(LOG, (OSError,))
        assert message.acknowledged


def test_a_connection_that_ends_while_it_is_closed_does_not_end_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def closed_twice(*_: Any) -> None:
        raise AttributeError("'NoneType' object has no attribute 'hostname'")

    monkeypatch.setattr(Consumer, "on_connection_error_after_connected", closed_twice)
    consumer = OwnMessages.__new__(OwnMessages)
    consumer.on_connection_error_after_connected(ConnectionError())
