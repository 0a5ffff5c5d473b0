"""Webhooks end to end: the outbox is written with the job's end and sent to a real receiver."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import httpcore
import pytest
from sqlalchemy import text
from standardwebhooks import Webhook, WebhookVerificationError

from repick.errors import InvalidField
from repick.jobs import JobState
from repick.store import jobs, keys, webhooks
from repick.store.webhooks import Delivery, Hook
from repick.webhooks import rules
from repick.webhooks.delivery import AT_ONCE, Deliverer
from repick.webhooks.rules import DeliveryState
from tests.integration import schedule_maker as maker
from tests.integration.pipeline import Pipeline
from tests.receiver import PUBLIC, Names, Receiver, ToReceiver, receiver

SECRET = bytes(range(32))
LEASE, DAY = timedelta(minutes=1), timedelta(days=1)
URL = "http://hooks.example.com/in?x=1"


@pytest.fixture
def got() -> Iterator[Receiver]:
    with receiver() as got:
        yield got


def deliverer(pipeline: Pipeline, got: Receiver, *addresses: str) -> Deliverer:
    names = Names(addresses or (PUBLIC,))
    return Deliverer(pipeline.database, True, names, ToReceiver(got.port))


def hook(pipeline: Pipeline, *events: str, url: str = URL) -> Hook:
    with pipeline.database.begin() as connection:
        return webhooks.create(
            connection, pipeline.tenant_id, url, events or ["job.succeeded"], SECRET
        )


def deliveries(pipeline: Pipeline, one: Hook) -> list[Delivery]:
    with pipeline.database.begin() as connection:
        return webhooks.deliveries(connection, pipeline.tenant_id, one.id, None, 100)


def due_now(pipeline: Pipeline) -> None:
    """Let the pause until the next attempt pass."""
    with pipeline.database.begin() as connection:
        connection.execute(text("UPDATE webhook_delivery SET next_at = now()"))


def test_finished_job_is_told_once_and_signed(pipeline: Pipeline, got: Receiver) -> None:
    pipeline.put({"red": "a red square"})
    one = hook(pipeline)
    hook(pipeline, "job.failed")
    job = pipeline.submit(["red"])
    pipeline.run(job)
    pipeline.expect(job, JobState.SUCCEEDED)
    sender = deliverer(pipeline, got)
    assert (sender.tick(), sender.tick()) == (1, 0)
    [(path, headers, body)] = got.requests
    assert path == "/in?x=1"
    assert headers["host"] == "hooks.example.com"
    assert headers["content-type"] == "application/json"
    value = Webhook(rules.shown(SECRET)).verify(body, headers)
    assert value["type"] == "job.succeeded"
    assert value["data"]["id"] == str(job)
    with pytest.raises(WebhookVerificationError):
        Webhook(rules.shown(SECRET)).verify(body.replace("succeeded", "failed"), headers)
    [told] = deliveries(pipeline, one)
    assert (told.state, told.attempts, told.last_status) == (DeliveryState.DELIVERED, 1, 204)
    assert headers["webhook-id"] == str(told.id)


def test_event_goes_with_the_transaction(pipeline: Pipeline) -> None:
    one = hook(pipeline, "job.cancelled")
    job = pipeline.submit(["red"])
    with pipeline.database.engine.connect() as connection:
        jobs.cancel(connection, pipeline.tenant_id, job)
        assert len(webhooks.deliveries(connection, pipeline.tenant_id, one.id, None, 9)) == 1
        connection.rollback()
    assert deliveries(pipeline, one) == []
    with pipeline.database.begin() as connection:
        jobs.cancel(connection, pipeline.tenant_id, job)
    assert [told.event for told in deliveries(pipeline, one)] == ["job.cancelled"]


def test_run_events(pipeline: Pipeline) -> None:
    one = hook(pipeline, *rules.EVENTS)
    pipeline.put({"red": "a red square"})
    maker.stand(pipeline, {"q": "red"})
    maker.run(pipeline, maker.schedule(pipeline))
    told = {delivery.event: delivery.payload["data"] for delivery in deliveries(pipeline, one)}
    assert set(told) == {"job.succeeded", "run.published"}
    assert told["run.published"]["schedule"] == "nightly"


def test_tried_again_later_until_given_up(pipeline: Pipeline, got: Receiver) -> None:
    one = hook(pipeline)
    got.answers = [(500, {})]
    with pipeline.database.begin() as connection:
        webhooks.enqueue_test(connection, pipeline.tenant_id, one.id)
    sender = deliverer(pipeline, got)
    assert sender.tick() == 1
    assert sender.tick() == 0  # not due yet
    [waiting] = deliveries(pipeline, one)
    assert (waiting.state, waiting.last_error) == (DeliveryState.WAITING, "status 500")
    assert 3 < (waiting.next_at - waiting.created_at).total_seconds() < 10
    for _ in range(rules.MAX_ATTEMPTS - 1):
        due_now(pipeline)
        assert sender.tick() == 1
    [given_up] = deliveries(pipeline, one)
    assert (given_up.state, given_up.attempts) == (DeliveryState.FAILED, rules.MAX_ATTEMPTS)
    due_now(pipeline)
    assert sender.tick() == 0
    ids = {headers["webhook-id"] for _, headers, _ in got.requests}
    assert (len(got.requests), len(ids)) == (rules.MAX_ATTEMPTS, 1)
    assert len({body for _, _, body in got.requests}) == 1


def test_redirects_are_not_followed(pipeline: Pipeline, got: Receiver) -> None:
    one = hook(pipeline)
    got.answers = [(302, {"location": "/elsewhere"})]
    with pipeline.database.begin() as connection:
        webhooks.enqueue_test(connection, pipeline.tenant_id, one.id)
    assert deliverer(pipeline, got).tick() == 1
    assert [path for path, _, _ in got.requests] == ["/in?x=1"]
    assert deliveries(pipeline, one)[0].last_error == "status 302"


def test_gone_disables_the_webhook(pipeline: Pipeline, got: Receiver) -> None:
    one = hook(pipeline)
    got.answers = [(410, {})]
    with pipeline.database.begin() as connection:
        webhooks.enqueue_test(connection, pipeline.tenant_id, one.id)
    deliverer(pipeline, got).tick()
    assert deliveries(pipeline, one)[0].state is DeliveryState.FAILED
    with pipeline.database.begin() as connection:
        shown = webhooks.by_id(connection, pipeline.tenant_id, one.id)
    assert shown is not None
    assert shown.disabled_reason == "gone"


@pytest.mark.parametrize(
    ("age", "state", "kept"),
    [
        (webhooks.KEPT + DAY, "delivered", False),
        (
            webhooks.KEPT + DAY,
            "waiting",
            False,
        ),  # for a webhook that is disabled: nobody sends it any more
        (webhooks.KEPT - DAY, "waiting", True),
    ],
)
def test_what_is_old_is_forgotten_whether_it_was_sent_or_not(
    age: timedelta, state: str, kept: bool, pipeline: Pipeline, got: Receiver
) -> None:
    one = hook(pipeline)
    with pipeline.database.begin() as connection:
        webhooks.enqueue_test(connection, pipeline.tenant_id, one.id)
        webhooks.disable(connection, pipeline.tenant_id, one.id, "gone")
        connection.execute(
            text(
                "UPDATE webhook_delivery SET state = CAST(:state AS delivery_state),"
                " created_at = now() - :age, next_at = now() - :age,"
                " finished_at = CASE WHEN :state <> 'waiting' THEN now() - :age END"
            ),
            {"age": age, "state": state},
        )
    assert deliverer(pipeline, got).tick() == 0
    assert bool(deliveries(pipeline, one)) == kept


@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1",),
        ("10.1.2.3",),
        ("169.254.169.254",),
        ("::1",),
        ("::ffff:127.0.0.1",),
        (PUBLIC, "192.168.0.1"),
    ],
)
def test_nothing_connects_to_a_private_address(
    pipeline: Pipeline, got: Receiver, addresses: tuple[str, ...]
) -> None:
    one = hook(pipeline)
    with pipeline.database.begin() as connection:
        webhooks.enqueue_test(connection, pipeline.tenant_id, one.id)
    names, backend = Names(addresses), ToReceiver(got.port)
    assert Deliverer(pipeline.database, True, names, backend).tick() == 1
    assert (got.requests, backend.asked, names.asked) == ([], [], ["hooks.example.com"])
    assert deliveries(pipeline, one)[0].last_error == "address_blocked"


def test_connection_goes_to_the_address_that_was_checked(pipeline: Pipeline, got: Receiver) -> None:
    one = hook(pipeline)
    with pipeline.database.begin() as connection:
        webhooks.enqueue_test(connection, pipeline.tenant_id, one.id)
    names, backend = Names(), ToReceiver(got.port)
    Deliverer(pipeline.database, True, names, backend).tick()
    assert (names.asked, backend.asked) == (["hooks.example.com"], [(PUBLIC, 80)])


def test_a_name_is_looked_up_as_it_is_sent(pipeline: Pipeline, got: Receiver) -> None:
    one = hook(pipeline, url="http://straße.example/")
    with pipeline.database.begin() as connection:
        webhooks.enqueue_test(connection, pipeline.tenant_id, one.id)
    names = Names()
    Deliverer(pipeline.database, True, names, ToReceiver(got.port)).tick()
    assert names.asked == ["xn--strae-oqa.example"]


def test_an_address_that_no_library_takes_ends_its_own_delivery_alone(
    pipeline: Pipeline, got: Receiver
) -> None:
    hooks = [hook(pipeline, url=url) for url in ("http://hooks.example.com:99999/", URL)]
    with pipeline.database.begin() as connection:
        for one in hooks:
            webhooks.enqueue_test(connection, pipeline.tenant_id, one.id)
    deliverer(pipeline, got).tick()
    bad, good = (deliveries(pipeline, one)[0] for one in hooks)
    assert (bad.state, bad.last_error) == (DeliveryState.FAILED, "invalid_url")
    assert good.state is DeliveryState.DELIVERED


def test_without_the_operators_word_nothing_leaves_without_tls(
    pipeline: Pipeline, got: Receiver
) -> None:
    one = hook(pipeline)
    with pipeline.database.begin() as connection:
        webhooks.enqueue_test(connection, pipeline.tenant_id, one.id)
    Deliverer(pipeline.database, False, Names(), ToReceiver(got.port)).tick()
    assert got.requests == []
    told = deliveries(pipeline, one)[0]
    assert (told.state, told.last_error) == (DeliveryState.FAILED, "https_only")


def test_rotated_secret_and_the_old_one_both_verify(pipeline: Pipeline, got: Receiver) -> None:
    one, new = hook(pipeline), bytes(32)
    with pipeline.database.begin() as connection:
        assert webhooks.rotate(connection, pipeline.tenant_id, one.id, new)
        webhooks.enqueue_test(connection, pipeline.tenant_id, one.id)
    deliverer(pipeline, got).tick()
    [(_, headers, body)] = got.requests
    for secret in (SECRET, new):
        Webhook(rules.shown(secret)).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(rules.shown(b"x" * 32)).verify(body, headers)


def test_two_senders_share_the_work(pipeline: Pipeline, got: Receiver) -> None:
    one = hook(pipeline)
    with pipeline.database.begin() as connection:
        for _ in range(5):
            webhooks.enqueue_test(connection, pipeline.tenant_id, one.id)
    with pipeline.database.begin() as connection:
        held = webhooks.claim_due(connection, 3, LEASE)
        with pipeline.database.begin() as other:
            also = webhooks.claim_due(other, 5, LEASE)
    assert len({each.id for each in [*held, *also]}) == len(held) + len(also) == 5


DEAD = "203.0.114.8"


@dataclass
class OneIsDead(ToReceiver):
    """A receiver at `DEAD` that lets its caller wait until `got` has what the others are told."""

    wanted: int = 0
    got: Receiver | None = None
    in_time: list[bool] = field(default_factory=list)

    def connect_tcp(
        self, host: str, port: int, *args: Any, **kwargs: Any
    ) -> httpcore.NetworkStream:
        if host != DEAD:
            return super().connect_tcp(host, port, *args, **kwargs)
        assert self.got is not None
        deadline = time.monotonic() + 20
        while len(self.got.requests) < self.wanted and time.monotonic() < deadline:
            time.sleep(0.01)
        self.in_time.append(len(self.got.requests) == self.wanted)
        raise httpcore.ConnectTimeout


def test_a_receiver_that_does_not_answer_keeps_nobody_else_waiting(
    pipeline: Pipeline, got: Receiver
) -> None:
    dead, alive = hook(pipeline, url="http://dead.example.com/"), hook(pipeline)
    told = []
    for one in (dead, dead, alive, alive, alive):
        with pipeline.database.begin() as connection:
            told.append(str(webhooks.enqueue_test(connection, pipeline.tenant_id, one.id)))
    backend = OneIsDead(got.port, wanted=3, got=got)

    def names(host: str, port: int) -> list[str]:
        return [DEAD if host == "dead.example.com" else PUBLIC]

    assert Deliverer(pipeline.database, True, names, backend).tick() == 5
    assert backend.in_time == [True, True]
    arrived = [headers["webhook-id"] for _, headers, _ in got.requests]
    assert arrived == told[2:], "one after the other, in their order"


def test_a_tenant_of_dead_receivers_alone_keeps_no_other_tenant_waiting(
    pipeline: Pipeline, got: Receiver
) -> None:
    with pipeline.database.begin() as connection:
        other = keys.ensure_tenant(connection, "other")
        alive = webhooks.create(connection, other, URL, ["job.succeeded"], SECRET)
    for no in range(AT_ONCE + 1):
        dead = hook(pipeline, url=f"http://dead.example.com/{no}")
        with pipeline.database.begin() as connection:
            webhooks.enqueue_test(connection, pipeline.tenant_id, dead.id)
    with pipeline.database.begin() as connection:
        webhooks.enqueue_test(connection, other, alive.id)
    backend = OneIsDead(got.port, wanted=1, got=got)

    def names(host: str, port: int) -> list[str]:
        return [DEAD if host == "dead.example.com" else PUBLIC]

    assert Deliverer(pipeline.database, True, names, backend).tick() == AT_ONCE + 2
    assert all(backend.in_time)


def test_who_is_asked_to_stop_begins_no_other_delivery(pipeline: Pipeline, got: Receiver) -> None:
    one = hook(pipeline)
    with pipeline.database.begin() as connection:
        for _ in range(3):
            webhooks.enqueue_test(connection, pipeline.tenant_id, one.id)
    sender = replace(deliverer(pipeline, got), stopping=lambda: bool(got.requests))
    assert sender.tick() == 1
    assert [each.state for each in deliveries(pipeline, one)].count(DeliveryState.WAITING) == 2


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://hooks.example.com/", "https_only"),
        ("ftp://hooks.example.com/", "invalid_url"),
        ("https://user:word@hooks.example.com/", "invalid_url"),
        ("https:///path", "invalid_url"),
        ("https://hooks.example.com/#part", "invalid_url"),
        ("https://127.0.0.1/", "address_blocked"),
        ("https://2130706433/", "address_blocked"),
        ("https://0x7f.0.0.1/", "address_blocked"),
        ("https://[::1]/", "address_blocked"),
        ("https://[::ffff:10.0.0.1]/", "address_blocked"),
        ("https://a b/", "invalid_url"),
        ("https://hooks.example.com:99999/", "invalid_url"),
        ("https://hooks.example.com:-1/", "invalid_url"),
        ("https://hooks.example.com:0/", "invalid_url"),
        ("https://" + "a" * 3000, "invalid_url"),
        ("not an address", "invalid_url"),
    ],
)
def test_addresses_that_are_refused(url: str, code: str) -> None:
    with pytest.raises(InvalidField) as caught:
        rules.parsed_url(url)
    assert caught.value.code == code


def test_pauses_grow_with_jitter_to_half_a_day() -> None:
    seconds = [rules.pause(no, lambda: 0.5).total_seconds() for no in range(1, 13)]
    assert seconds[:4] == [5, 15, 45, 135]
    assert seconds[-1] == 12 * 3600
    assert rules.pause(1, lambda: 0.0).total_seconds() == 4
    assert rules.pause(1, lambda: 0.999).total_seconds() == pytest.approx(6, abs=0.01)
