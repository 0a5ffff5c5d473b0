"""Whether every part of a stack answers."""

from __future__ import annotations

import httpx
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from repick.queue import make_app
from repick.stack.addresses import Addresses

_WORKERS = ("coarse", "fine")


def missing(addresses: Addresses) -> list[str]:
    """The names of the parts that do not answer yet, quickest to ask first."""
    parts = {"flower": f"{addresses.flower_url}/healthcheck", "api": f"{addresses.api_url}/readyz"}
    silent = [name for name, url in parts.items() if not _healthy(url)]
    return silent or _silent_workers(addresses.broker_url)


def _healthy(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _silent_workers(broker_url: str) -> list[str]:
    """Kinds of worker of which none replies: a worker's node name begins with its kind."""
    app = make_app(broker_url)
    try:
        replies = app.control.ping(timeout=1.0)
    except (OperationalError, RedisError):
        return list(_WORKERS)
    finally:
        app.close()
    nodes = [node for reply in replies for node in reply]
    return [kind for kind in _WORKERS if not any(node.startswith(kind) for node in nodes)]
