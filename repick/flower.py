"""Flower for Repick's queues: `python -m repick.flower`.

Its own settings come from FLOWER_… variables, as Flower documents them; the password from
REPICK_FLOWER_PASSWORD, so that it is never among the arguments, which every user can list.
"""

from __future__ import annotations

import os
import sys

from repick.queue import make_app
from repick.settings import read_settings

USER = "repick"
COLUMNS = "name,args,state,received,started,runtime,worker,uuid"


def main() -> None:
    """Serve Flower until it is told to stop; exits with a sentence where a setting is missing
    or its port is taken."""
    settings = read_settings()
    password = settings.flower_password.get_secret_value()
    if not password or not settings.broker_url:
        sys.exit("Flower needs REPICK_FLOWER_PASSWORD and REPICK_BROKER_URL")
    if any(sign in password for sign in ",:"):
        sys.exit("REPICK_FLOWER_PASSWORD may contain neither a comma nor a colon")
    defaults = {
        "FLOWER_ADDRESS": "127.0.0.1",
        "FLOWER_PORT": str(settings.flower_port),
        "FLOWER_BASIC_AUTH": f"{USER}:{password}",
        "FLOWER_NATURAL_TIME": "true",
        # Who may look may not also stop workers; FLOWER_READ_ONLY=false gives the buttons back.
        "FLOWER_READ_ONLY": "true",
        "FLOWER_LOGGING": "error",  # below, it lists Celery's own tasks and workers that are busy
        "FLOWER_TASKS_COLUMNS": COLUMNS,
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    try:
        make_app(settings.broker_url).start(["flower"])
    except OSError as exc:
        sys.exit(f"error: Flower did not start: {exc} (port {os.environ['FLOWER_PORT']})")


if __name__ == "__main__":
    main()
