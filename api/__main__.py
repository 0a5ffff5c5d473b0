"""`python -m api`: one API process; run several behind a proxy, or on several machines."""

from __future__ import annotations

import uvicorn

from api.app import create_app
from repick.logs import configure
from repick.settings import Settings

GRACE_S = 10
"""How long a stop waits for requests; clients that wait for a job come back by themselves."""


def main() -> None:
    configure("api")
    settings = Settings()
    uvicorn.run(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        log_level="warning",
        access_log=False,  # it would write query strings; ours does not
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )


if __name__ == "__main__":
    main()
