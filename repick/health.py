"""Health checks of containers: `python -m repick.health api|worker ROLE|sweep`.

Exit code 0 for healthy. Nothing here asks more than the process needs for its own work.
"""

from __future__ import annotations

import socket
import sys
from contextlib import closing

import httpx
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from repick.errors import Unavailable
from repick.queue import make_app
from repick.settings import Settings, service_settings
from repick.store.database import Database


def api(settings: Settings) -> bool:
    """The API answers; whether its servers do is `/readyz`, and no reason to restart it."""
    try:
        url = f"http://127.0.0.1:{settings.api_port}/livez"
        return httpx.get(url, timeout=4, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def worker(settings: Settings, role: str) -> bool:
    """A worker of this role on this host replies through the broker."""
    app, host = make_app(settings.broker_url), f"@{socket.gethostname()}"
    try:
        replies = app.control.ping(timeout=2.0)
    except (OperationalError, RedisError):
        return False
    finally:
        app.close()
    nodes = [node for reply in replies for node in reply]
    return any(node.startswith(role) and node.endswith(host) for node in nodes)


def sweep(settings: Settings) -> bool:
    """The sweep can do its rounds: database and broker answer."""
    try:
        with closing(Database(settings.database_url)) as database:
            database.ping()
        with make_app(settings.broker_url).connection_for_read() as connection:
            connection.ensure_connection(max_retries=1, timeout=3)
    except (Unavailable, OperationalError, RedisError):
        return False
    return True


def main(argv: list[str]) -> int:
    match argv:
        case ["api"]:
            return not api(service_settings())
        case ["worker", role]:
            return not worker(service_settings("broker_url"), role)
        case ["sweep"]:
            return not sweep(service_settings("database_url", "broker_url"))
    sys.exit("usage: python -m repick.health api|worker ROLE|sweep")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
