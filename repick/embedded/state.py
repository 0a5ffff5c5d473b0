"""What one data folder remembers of its servers: passwords, ports, the cluster's key."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from repick.errors import Unavailable

_FILE = "embedded.json"


@dataclass(frozen=True, slots=True)
class State:
    """Kept as JSON that only its owner may read; ports are the last ones used, 0 for none yet."""

    database_password: str = field(repr=False)
    broker_password: str = field(repr=False)
    cluster_key: str
    database_port: int = 0
    broker_port: int = 0

    @classmethod
    def create(cls, folder: Path) -> State:
        """New passwords, on disk before any server knows them."""
        state = cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_hex(8))
        state.save(folder)
        return state

    @classmethod
    def load(cls, folder: Path) -> State | None:
        path = folder / _FILE
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as exc:
            raise Unavailable(f"{path} is damaged: {exc}") from exc

    def save(self, folder: Path) -> None:
        write_private(folder / _FILE, json.dumps(asdict(self), indent=2))

    @staticmethod
    def delete(folder: Path) -> None:
        (folder / _FILE).unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner alone at every moment."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)


@contextmanager
def locked(data_dir: Path) -> Iterator[Path]:
    """The data folder, resolved, made if need be, and held against other starts and stops.

    Root's folder may be passed through by others (0711), because Postgres refuses to run as root
    and its user must reach the cluster inside; anyone else's is private.
    """
    folder = data_dir.resolve()
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
        with (folder / "embedded.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    except OSError as exc:
        raise Unavailable(f"cannot use the data folder {folder}: {exc}") from exc
