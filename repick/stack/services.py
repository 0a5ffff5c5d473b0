"""The processes of the service, and the environment that they share."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from repick.embedded.state import write_private
from repick.settings import Settings
from repick.stack.addresses import Addresses
from repick.stack.supervisor import Service

_MODULES = {
    "api": ["api"],
    "coarse": ["worker", "coarse"],
    "fine": ["worker", "fine"],
    "sweep": ["repick.sweep"],
    "flower": ["repick.flower"],
}


WORKERS_NICENESS = 3
"""On one machine models leave the cores to whoever submits or polls, a request's milliseconds; not
by much, or loading a corpus keeps the encoder from its work (docs/performance.md)."""
KEEPING_MEMORY = {
    name: str(256 * 1024 * 1024) for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
}
"""For glibc: a forward pass's temporaries are kept for the next one. Given back to the system and
faulted in again at every layer they were a quarter of an encoder's time (docs/performance.md)."""


@dataclass(frozen=True, slots=True)
class LocalSecrets:
    """Kept between runs, so that cursors and a bookmarked Flower stay valid."""

    secret: str = field(repr=False)
    flower_password: str = field(repr=False)


def local_secrets(settings: Settings, folder: Path) -> LocalSecrets:
    """The settings' own secrets, or else those of the data folder, made at first use."""
    path = folder / "secrets.json"
    if path.exists():
        kept = LocalSecrets(**json.loads(path.read_text()))
    else:
        kept = LocalSecrets(secrets.token_urlsafe(32), secrets.token_urlsafe(12))
        write_private(path, json.dumps(asdict(kept)))
    return LocalSecrets(
        settings.secret.get_secret_value() or kept.secret,
        settings.flower_password.get_secret_value() or kept.flower_password,
    )


def environment(
    settings: Settings, addresses: Addresses, local: LocalSecrets, demo: Mapping[str, object]
) -> dict[str, str]:
    """REPICK_… variables that make a child's Settings equal ours, with what was chosen here.

    `demo` are the settings of the demo's models: each model's stand where we name none.
    """
    values = {name: getattr(settings, name) for name in settings.model_fields_set}
    values = _of_demo(settings, demo) | values
    values |= {
        "database_url": addresses.database_url,
        "broker_url": addresses.broker_url,
        "data_dir": addresses.data_dir,
        "secret": local.secret,
        "api_port": urlsplit(addresses.api_url).port,
        "flower_port": urlsplit(addresses.flower_url).port,
        "flower_password": local.flower_password,
        "encoder": settings.encoder or demo["encoder"],
        "scorer": settings.scorer or demo["scorer"],
    }
    return {f"REPICK_{name.upper()}": _plain(v) for name, v in values.items() if v is not None}


def _of_demo(settings: Settings, demo: Mapping[str, object]) -> dict[str, object]:
    """What is the encoder's only where no encoder was named; all the rest is the scorer's."""
    return {
        name: value
        for name, value in demo.items()
        if not (settings.encoder if name.startswith("encoder") else settings.scorer)
    }


def services(variables: dict[str, str]) -> list[Service]:
    """Every process, in the order in which they start."""
    # Threads of one operation that spin while they wait for each other stand still for
    # milliseconds where these processes and others share the cores (docs/performance.md).
    policy = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
    shared = {"PYTHONUNBUFFERED": "1", "OMP_WAIT_POLICY": policy, **variables}
    of_workers = {name: os.environ.get(name, value) for name, value in KEEPING_MEMORY.items()}
    return [
        Service(
            name,
            [sys.executable, "-m", *module],
            shared | (of_workers if module[0] == "worker" else {}),
            WORKERS_NICENESS if module[0] == "worker" else 0,
        )
        for name, module in _MODULES.items()
    ]


def _plain(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
