"""Messages that go to the broker together: all of them, in order, also over a broken connection."""

from __future__ import annotations

import base64
import json

import redis

from repick.jobs import Stage
from repick.processes import free_port
from repick.queue import TASK, Message, make_app, send

IDS = [f"00000000-0000-7000-8000-00000000000{no}" for no in range(5)]


def messages() -> list[Message]:
    return [Message(TASK[Stage.RETRIEVE], one, "free") for one in IDS]


def waiting(broker: redis.Redis) -> list[str]:
    """The jobs that the messages name, the oldest first."""
    raw = [json.loads(one) for one in reversed(broker.lrange("free", 0, -1))]
    return [json.loads(base64.b64decode(one["body"]))[0][0] for one in raw]


def test_messages_go_together_and_in_order(broker_url: str) -> None:
    with redis.Redis.from_url(broker_url) as broker, make_app(broker_url) as app:
        assert send(app, messages())
        assert waiting(broker) == IDS
        with app.producer_pool.acquire(block=True) as producer:
            assert producer.supports_batch_publish


def test_a_connection_that_broke_while_it_lay_idle_costs_nothing(broker_url: str) -> None:
    with redis.Redis.from_url(broker_url) as broker, make_app(broker_url) as app:
        assert send(app, messages()[:2])
        broker.client_kill_filter(_type="normal", skipme=True)
        assert send(app, messages()[2:])
        assert waiting(broker) == IDS


def test_where_no_broker_is_the_sender_is_told() -> None:
    with make_app(f"redis://127.0.0.1:{free_port()}/0") as app:
        assert not send(app, messages())
