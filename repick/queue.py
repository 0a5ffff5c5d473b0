"""The Celery app: queues by kind of work, messages that carry an id and nothing else.

Postgres is the truth. A message only says where to look: it may be lost (the sweep publishes
again), doubled or late (a claim then finds nothing), and the broker may be wiped at any moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from celery import Celery
from kombu.entity import Queue
from kombu.exceptions import BatchPublishError, LimitExceeded, OperationalError
from redis.exceptions import RedisError

from repick.jobs import Stage, bulk_queue
from repick.store.slices import Dispatch

log = structlog.get_logger(__name__)

TASK = {
    Stage.RETRIEVE: "repick.retrieve",
    Stage.SCORE: "repick.score",
    Stage.RANK: "repick.rank",
}
EMBED = "repick.embed"
_REFUSALS = (OperationalError, BatchPublishError, LimitExceeded, RedisError)


def make_app(broker_url: str, queues: Sequence[str] = ()) -> Celery:
    """The Celery app; `queues` are those that a worker serves, the first first."""
    app = Celery("repick", broker=broker_url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_create_missing_queues=True,
        # Events of sending would be a second message for each; Flower learns of a task when a
        # worker receives it, and what waits is in Postgres.
        task_send_sent_event=False,
        worker_send_task_events=True,
        worker_prefetch_multiplier=1,
        worker_soft_shutdown_timeout=30.0,
        worker_enable_soft_shutdown_on_idle=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=2.0,
        broker_pool_limit=8,
        broker_transport_options={
            "visibility_timeout": 3600,
            "queue_order_strategy": "priority",
            "socket_connect_timeout": 2.0,
            "socket_timeout": 5.0,
            "socket_keepalive": True,
            "health_check_interval": 10,
            # Nothing is tried again below Celery and kombu: a worker's subscription would connect
            # anew and wait for its first message without an end, and messages would go one by one.
            "retry_on_timeout": False,
        },
    )
    if queues:
        app.conf.task_queues = [Queue(name) for name in queues]  # type: ignore[no-untyped-call]
    return app


@dataclass(frozen=True, slots=True)
class Message:
    """Which task is to look where: an id and nothing else, on a queue."""

    task: str
    argument: str | int
    queue: str


def job_message(dispatch: Dispatch) -> Message:
    return Message(TASK[dispatch.stage], str(dispatch.job_id), dispatch.queue)


def embedding_message(space_id: int, encoder_queue: str) -> Message:
    """Ask for the waiting items of a space to be embedded, after whatever is interactive."""
    return Message(EMBED, space_id, bulk_queue(encoder_queue))


def publish(app: Celery, dispatch: Dispatch) -> bool:
    """Publish after the commit. False when the broker did not take it: the sweep will."""
    return send(app, [job_message(dispatch)] * dispatch.count)


def publish_embedding(app: Celery, space_id: int, encoder_queue: str, count: int = 1) -> bool:
    return send(app, [embedding_message(space_id, encoder_queue)] * count)


def send(app: Celery, messages: Sequence[Message]) -> bool:
    """Send messages in one round trip; False where the broker did not take all of them."""
    try:
        try:
            _send(app, messages)
        except BatchPublishError:  # of a connection that broke while it lay idle, most likely
            _send(app, messages)  # what is sent twice does nothing the second time
    except (*_REFUSALS, OSError) as exc:
        log.warning("not published", messages=len(messages), reason=type(exc).__name__)
        return False
    return True


def _send(app: Celery, messages: Sequence[Message]) -> None:
    with (
        app.producer_pool.acquire(block=True, timeout=5) as producer,
        producer.batch(max(1, len(messages))),
    ):
        for one in messages:
            app.send_task(
                one.task, args=[one.argument], queue=one.queue, producer=producer, retry=False
            )


def job_id(argument: str) -> UUID:
    """The job's id out of a message. Raises ValueError on anything else."""
    return UUID(argument)


def depth(app: Celery, queue: str) -> int:
    """Messages that wait in the broker; raises kombu's or redis's error when it is down."""
    with app.connection_for_read() as connection:
        return int(connection.default_channel.client.llen(queue))


def answers(app: Celery) -> bool:
    """Whether the broker answers; takes two seconds where it does not."""
    try:
        with app.connection_for_read() as connection:
            return bool(connection.default_channel.client.ping())
    except (OperationalError, RedisError, OSError):
        return False
