"""Sending what the outbox holds: checked addresses, one deadline, no redirects, tried again."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpcore
import structlog

from repick import outbound
from repick.errors import AddressBlocked, InvalidField, Unavailable
from repick.outbound import Pinned, Resolver, check_host
from repick.settings import Settings
from repick.store import webhooks
from repick.store.database import Database
from repick.store.webhooks import Claimed
from repick.webhooks import rules
from repick.webhooks.rules import DeliveryState

log = structlog.get_logger(__name__)

DEADLINE_S = 15.0
AT_ONCE = 16
"""Webhooks that are told something, each one thing after the other: a receiver that does not answer
keeps its own events waiting, and nobody else's while there are fewer of its kind."""
AT_ONCE_OF_TENANT = 4
"""So that no tenant by itself has that many: it may have more webhooks than AT_ONCE."""
LEASE = timedelta(seconds=DEADLINE_S + 30)
"""Longer than an attempt takes."""
GONE = 410


@dataclass(frozen=True, slots=True)
class Outcome:
    """An attempt: the receiver's status, or why there is none. `final`: no other attempt helps."""

    status: int | None
    error: str | None
    final: bool = False

    @property
    def delivered(self) -> bool:
        return self.error is None


@dataclass(frozen=True, slots=True)
class Deliverer:
    """`resolver` and `backend` are the two ways out: the name's look-up and the connection.

    Once `stopping` is true, what has begun is ended and nothing else begins.
    """

    database: Database
    insecure: bool = False
    resolver: Resolver = outbound.resolve
    backend: httpcore.NetworkBackend | None = None
    stopping: Callable[[], bool] = lambda: False

    def tick(self) -> int:
        """Attempt what is due, until nothing is; gives how many attempts. Raises Unavailable."""
        attempts, flying = 0, dict[Future[Outcome], Claimed]()
        with ThreadPoolExecutor(AT_ONCE, "webhook") as pool:
            while self._begin(pool, flying):
                for ended in wait(flying, return_when=FIRST_COMPLETED).done:
                    self._record(flying.pop(ended), ended.result())
                    attempts += 1
        with self.database.begin() as connection:
            webhooks.forget(connection)
        return attempts

    def _begin(self, pool: Executor, flying: dict[Future[Outcome], Claimed]) -> bool:
        """Attempt what is due while there is room; whether anything is under way."""
        while len(flying) < AT_ONCE and not self.stopping():
            busy = {one.webhook_id for one in flying.values()}
            told = Counter(one.tenant_id for one in flying.values())
            full = [tenant for tenant, count in told.items() if count >= AT_ONCE_OF_TENANT]
            with self.database.begin() as connection:
                claimed = webhooks.claim_due(connection, 1, LEASE, busy, full)
            if not claimed:
                break
            flying[pool.submit(self.attempt, claimed[0])] = claimed[0]
        return bool(flying)

    def attempt(self, one: Claimed) -> Outcome:
        """Send once. What goes wrong is an outcome, with a text that names no address."""
        try:
            return self._send(one)
        except InvalidField as exc:  # the operator's rules have changed since it was stored
            return Outcome(None, exc.code, final=True)
        except ValueError:  # a library cannot send to it: no reason to end everybody's deliveries
            log.exception("webhook cannot be sent", delivery=str(one.id))
            return Outcome(None, "cannot_be_sent", final=True)
        except AddressBlocked as exc:
            return Outcome(None, exc.code)
        except Unavailable as exc:
            return Outcome(None, exc.code)
        except httpcore.TimeoutException:
            return Outcome(None, "timeout")
        except (httpcore.NetworkError, httpcore.ProtocolError) as exc:
            return Outcome(None, f"connection_failed: {type(exc).__name__}")

    def _send(self, one: Claimed) -> Outcome:
        """Raises what its callees do; nothing of the answer but its status is read."""
        url = rules.parsed_url(one.url, insecure=self.insecure)
        deadline = time.monotonic() + DEADLINE_S
        # As it is sent: the system would write a name in Unicode by older rules, as another one.
        host = url.raw_host.decode()
        addresses = check_host(host, rules.port_of(url), self.resolver)
        body = webhooks.body_of(one)
        headers = {
            "host": url.netloc.decode(),
            "content-type": "application/json",
            "user-agent": "Repick-Webhooks/1",
            "content-length": str(len(body.encode())),
            **rules.signed(body, str(one.id), datetime.now(UTC), one.keys),
        }
        pinned = Pinned(addresses, deadline, self.backend)
        with (
            httpcore.ConnectionPool(network_backend=pinned) as pool,
            pool.stream(
                "POST", str(url), headers=list(headers.items()), content=body.encode()
            ) as response,
        ):
            status = response.status
        if 200 <= status < 300:
            return Outcome(status, None)
        return Outcome(status, f"status {status}", final=status == GONE)

    def _record(self, one: Claimed, outcome: Outcome) -> None:
        with self.database.begin() as connection:
            if outcome.delivered:
                webhooks.finish(connection, one, DeliveryState.DELIVERED, outcome.status, None)
            elif outcome.final or one.attempts >= rules.MAX_ATTEMPTS:
                webhooks.finish(
                    connection, one, DeliveryState.FAILED, outcome.status, outcome.error
                )
            else:
                wait = rules.pause(one.attempts, random.random)
                assert outcome.error is not None
                webhooks.again(connection, one, wait, outcome.status, outcome.error)
            if outcome.status == GONE:
                webhooks.disable(connection, one.tenant_id, one.webhook_id, "gone")
        if not outcome.delivered:
            log.info(
                "webhook not delivered",
                delivery=str(one.id),
                attempts=one.attempts,
                reason=outcome.error,
            )


def deliver(settings: Settings, stopping: threading.Event) -> None:
    """A thread of the sweep: attempt what is due, every sweep interval."""
    database = Database(settings.database_url, connections=2)
    insecure = settings.webhooks_over_http
    deliverer = Deliverer(database, insecure=insecure, stopping=stopping.is_set)
    try:
        while not stopping.wait(settings.sweep_interval_s):
            try:
                deliverer.tick()
            except Unavailable as exc:
                log.warning("database does not answer", reason=exc.detail)
    finally:
        database.close()
