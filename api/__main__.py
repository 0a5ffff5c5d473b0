"""`python -m api`: one API process; run several behind a proxy, or on several machines."""

from __future__ import annotations

import contextlib
import gc
import sys

import uvicorn

from api.app import create_app
from repick import telemetry
from repick.logs import configure
from repick.settings import service_settings

GRACE_S = 10
"""How long a stop waits for requests; those that wait for a job are answered at once."""

SWITCH_S = 0.0005
"""How long a thread may keep the interpreter while others wait for it. Requests are threads that
wait for Postgres again and again; at Python's 5 ms each return waits behind whoever computes."""


def main() -> None:
    configure("api")
    sys.setswitchinterval(SWITCH_S)
    telemetry.configure("api")
    settings = service_settings("database_url", "broker_url")
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_port,
        log_level="warning",
        access_log=False,  # it would write query strings; ours does not
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = uvicorn.Server(config)
    gc.freeze()  # what is here stays for good: looking through it again cost a request 100 ms
    app.state.stopping = lambda: server.should_exit
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(1)


if __name__ == "__main__":
    main()
