"""`python -m tests.integration.ticker URL NOW`: sweep schedules at an instant until killed."""

from __future__ import annotations

import sys
from datetime import datetime

import structlog

from repick import nightly
from repick.settings import Settings
from repick.store.database import Database


def main(url: str) -> None:
    """Instants come a line each on standard input; a line goes out when one was swept."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    database, settings = Database(url), Settings()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        nightly.sweep(database, settings, datetime.fromisoformat(line.strip()))
        sys.stdout.write("swept\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
