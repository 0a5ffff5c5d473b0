"""Events, addresses, secrets, signatures and pauses of webhooks. Pure, but for chance.

Signatures and headers are those of Standard Webhooks (standardwebhooks.com); receivers verify them
with a library of theirs.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import httpx
from standardwebhooks import Webhook

from repick import outbound
from repick.errors import InvalidField
from repick.jobs import JobState
from repick.schedules import RunState

TEST_EVENT = "webhook.test"
EVENTS = (
    *(f"job.{state}" for state in JobState if state.final),
    *(f"run.{state}" for state in RunState if state is not RunState.RUNNING),
)
MAX_ATTEMPTS = 12
"""About a day and a half after the first one."""
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(hours=12)
OLD_SECRET_LASTS = timedelta(hours=24)
MAX_URL_CHARS = 2_000
MAX_PORT = 65_535
SECRET_BYTES = 32


class DeliveryState(StrEnum):
    WAITING = "waiting"  # for its next attempt
    DELIVERED = "delivered"
    FAILED = "failed"  # given up


def new_secret() -> bytes:
    return secrets.token_bytes(SECRET_BYTES)


def shown(secret: bytes) -> str:
    """A secret as receivers are given it, once."""
    return "whsec_" + base64.b64encode(secret).decode()


def signed(body: str, delivery_id: str, at: datetime, keys: Sequence[bytes]) -> Mapping[str, str]:
    """The three headers; one signature a key, so that a rotated secret has time to arrive.

    `at` is an aware instant in UTC.
    """
    signatures = [Webhook(key).sign(delivery_id, at, body) for key in keys]
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def pause(attempts: int, chance: Callable[[], float]) -> timedelta:
    """How long to wait after so many attempts: 5 s, tripled each time, at most 12 h, ± 20 %.

    `chance` gives a number in [0, 1).
    """
    wait: timedelta = min(FIRST_PAUSE * 3 ** (attempts - 1), LONGEST_PAUSE)
    return wait * (0.8 + 0.4 * chance())


def parsed_url(url: str, *, insecure: bool = False) -> httpx.URL:
    """An address that may be stored: https (http too where `insecure`), a host, no credentials.

    The same parser checks it and reads it for sending. A literal address must be global; what a
    name resolves to is checked at each delivery. Raises InvalidField (`invalid_url`,
    `https_only`, `address_blocked`).
    """
    if len(url) > MAX_URL_CHARS or any(ord(char) <= 32 or ord(char) == 127 for char in url):
        raise InvalidField("url", "not an address", code="invalid_url")
    try:
        found = httpx.URL(url)
        host = found.host
    except (httpx.InvalidURL, ValueError) as exc:
        raise InvalidField("url", "not an address", code="invalid_url") from exc
    if found.scheme not in {"https", "http"} or not host or found.userinfo or found.fragment:
        detail = "an https address with a host, without credentials or fragment"
        raise InvalidField("url", detail, code="invalid_url")
    if not 1 <= port_of(found) <= MAX_PORT:
        raise InvalidField("url", "there is no such port", code="invalid_url")
    if found.scheme != "https" and not insecure:
        raise InvalidField("url", "webhooks are sent over https", code="https_only")
    if _is_literal(host) and not outbound.is_global(host):
        raise InvalidField("url", "the address is not public", code="address_blocked")
    return found


def _is_literal(host: str) -> bool:
    """Whether a host is an address, or a number that a resolver may take for one (0x7f.1)."""
    last = host.rstrip(".").rpartition(".")[2]
    return ":" in host or last.isdigit() or last.lower().startswith("0x")


def port_of(url: httpx.URL) -> int:
    if url.port is None:
        return 443 if url.scheme == "https" else 80
    return url.port
