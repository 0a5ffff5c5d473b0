"""`python -m repick.migrate`: brings the schema of REPICK_DATABASE_URL up to date, and ends."""

from __future__ import annotations

import sys

from repick.errors import Unavailable
from repick.settings import service_settings
from repick.store.database import migrate


def main() -> int:
    settings = service_settings("database_url")
    try:
        migrate(settings.database_url)
    except Unavailable as exc:
        sys.exit(f"error: {exc.detail}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
