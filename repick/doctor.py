"""`repick doctor`: what the service needs, asked part by part; it changes nothing.

A part that fails keeps the others from being asked only where they need it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path

import redis
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy.exc import ArgumentError

from repick.errors import RepickError, Unavailable
from repick.media import media_store
from repick.queue import make_app
from repick.settings import Settings
from repick.store import schema, server, tenancy
from repick.store.database import Database

PGVECTOR_FLOOR = (0, 8, 7)
POSTGRES_18_FLOOR = (18, 6)
"""Releases with security fixes that a server which others reach must have."""
MODEL_SETTINGS = (
    *("encoder", "encoder_name", "scorer", "scorer_name", "readouts"),
    *("dtype", "device", "min_pixels", "max_pixels"),
)
READ_BY_CLIENTS = {"REPICK_API_URL", "REPICK_API_KEY"}
SKEW_WARN_S, SKEW_FAIL_S = 1.0, 30.0
DISK_WARN, DISK_FAIL = 0.10, 0.02


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    part: str
    verdict: Verdict
    detail: str


def examine(settings: Settings, *, embedded: bool = False, models: bool = False) -> list[Finding]:
    """All findings; `embedded` servers are on loopback, and newer releases are no duty there.

    `models` loads the encoder and the scorer, each in a process of its own, and tries them.
    """
    findings = [_versions(), *_misspelt(), *_database(settings, embedded), *_broker(settings)]
    findings += [*_checkpoints(settings), _disk(settings.data_dir), _media(settings)]
    return [*findings, *tried_models(settings)] if models else findings


def healthy(findings: Sequence[Finding]) -> bool:
    return all(one.verdict is not Verdict.FAIL for one in findings)


def _versions() -> Finding:
    python = ".".join(map(str, sys.version_info[:3]))
    detail = f"repick {version('repick')}, Python {python}, Celery {version('celery')}"
    return Finding("versions", Verdict.OK, detail)


def _misspelt() -> list[Finding]:
    """Variables with our prefix that nothing reads: most likely a setting with a wrong letter."""
    known = {f"REPICK_{name.upper()}" for name in Settings.model_fields} | READ_BY_CLIENTS
    unknown = sorted(
        name for name in os.environ if name.startswith("REPICK_") and name not in known
    )
    detail = f"nothing reads {', '.join(unknown)}"
    return [Finding("settings", Verdict.WARN, detail)] if unknown else []


def _unset(part: str, variable: str) -> Finding:
    detail = f"{variable} is not set, and no stack of `repick up` runs in this data folder"
    return Finding(part, Verdict.FAIL, detail)


def _database(settings: Settings, embedded: bool) -> list[Finding]:
    if not settings.database_url:
        return [_unset("postgres", "REPICK_DATABASE_URL")]
    try:
        with (
            closing(Database(settings.database_url, connections=2)) as database,
            database.read() as connection,
        ):
            before, about, after = time.time(), server.about(connection), time.time()
            migrated = schema.current(connection)
            models = server.served(connection) if migrated == schema.head() else []
            isolated = tenancy.protected(connection)
    except (Unavailable, ArgumentError) as exc:
        return [Finding("postgres", Verdict.FAIL, f"does not answer ({_reason(exc)})")]
    skew = about.now.timestamp() - (before + after) / 2
    return [
        _postgres(about, embedded),
        _pgvector(about, embedded),
        _migrations(migrated),
        _isolation(isolated),
        clock("clock of postgres", skew),
        _models(models),
    ]


def _postgres(about: server.Server, embedded: bool) -> Finding:
    old = _numbers(about.postgres)[:1] == (18,) and _numbers(about.postgres) < POSTGRES_18_FLOOR
    if old and not embedded:
        detail = f"{about.postgres}: security fixes came with 18.6"
        return Finding("postgres", Verdict.WARN, detail)
    return Finding("postgres", Verdict.OK, about.postgres)


def _pgvector(about: server.Server, embedded: bool) -> Finding:
    if about.pgvector is None:
        return Finding("pgvector", Verdict.FAIL, "the extension is not in this database")
    if _numbers(about.pgvector) < PGVECTOR_FLOOR and not embedded:
        detail = f"{about.pgvector}: security fixes came with 0.8.7"
        return Finding("pgvector", Verdict.WARN, detail)
    return Finding("pgvector", Verdict.OK, about.pgvector)


def _migrations(at: str | None) -> Finding:
    head = schema.head()
    if at == head:
        return Finding("migrations", Verdict.OK, head)
    detail = f"the database is at {at or 'nothing'}, this code needs {head}: run `repick migrate`"
    return Finding("migrations", Verdict.FAIL, detail)


def _isolation(active: bool) -> Finding:
    if active:
        return Finding("row-level security", Verdict.OK, "active for every table with tenants")
    detail = "off: the queries alone keep tenants apart (docs/security.md: what to grant)"
    return Finding("row-level security", Verdict.WARN, detail)


def _models(models: Sequence[server.Served]) -> Finding:
    kinds = {one.kind for one in models}
    if missing := {"encoder", "scorer"} - kinds:
        detail = f"no worker has registered: {', '.join(sorted(missing))}"
        return Finding("models", Verdict.WARN, detail)
    latest = [next(one for one in models if one.kind == kind) for kind in ("encoder", "scorer")]
    named = ", ".join(f"{one.name} ({_ago(one.seconds_ago)})" for one in latest)
    return Finding("models", Verdict.OK, f"registered last: {named}")


def _broker(settings: Settings) -> list[Finding]:
    if not settings.broker_url:
        return [_unset("broker", "REPICK_BROKER_URL")]
    try:
        with closing(redis.Redis.from_url(settings.broker_url, socket_timeout=3)) as broker:
            facts = broker.info("server")
            before = time.time()
            seconds, micro = broker.time()
            skew = seconds + micro / 1e6 - (before + time.time()) / 2
            evicts = str(broker.info("memory").get("maxmemory_policy", "noeviction"))
    except (RedisError, ValueError, OSError) as exc:
        return [Finding("broker", Verdict.FAIL, f"does not answer ({_reason(exc)})")]
    name = "Valkey" if "valkey_version" in facts else "Redis"
    number = facts.get("valkey_version") or facts.get("redis_version")
    found = [Finding("broker", Verdict.OK, f"{name} {number}"), clock("clock of broker", skew)]
    if evicts != "noeviction":
        detail = f"maxmemory-policy is {evicts}: messages may vanish (the sweep sends them again)"
        found.append(Finding("broker memory", Verdict.WARN, detail))
    return [*found, _workers(settings)]


def _workers(settings: Settings) -> Finding:
    app = make_app(settings.broker_url)
    try:
        replies = app.control.ping(timeout=1.5)
    except (OperationalError, RedisError, OSError) as exc:
        return Finding("workers", Verdict.FAIL, f"cannot be asked ({_reason(exc)})")
    finally:
        app.close()
    names = sorted(name for reply in replies for name in reply)
    roles = {name.split("-")[0] for name in names}
    if missing := {"coarse", "fine"} - roles:
        detail = f"no {' and no '.join(sorted(missing))} worker replies"
        return Finding("workers", Verdict.WARN, detail)
    return Finding("workers", Verdict.OK, ", ".join(names))


def _checkpoints(settings: Settings) -> list[Finding]:
    """Paths of models on this machine; a hub id is fetched by the worker itself."""
    found = []
    for part, value in (("encoder", settings.encoder), ("scorer", settings.scorer)):
        if value.startswith((".", "/", "~")):
            folder = Path(value).expanduser()
            there = (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))
            verdict = Verdict.OK if there else Verdict.FAIL
            said = value if there else f"{value} has no config.json with safetensors beside it"
            found.append(Finding(f"{part} checkpoint", verdict, said))
    return found


def tried_models(settings: Settings) -> list[Finding]:
    """What the worker's own check says of each model that is named; hub ids may be fetched."""
    named = (("encoder", settings.encoder), ("scorer", settings.scorer))
    return [finding for part, value in named if value for finding in _tried(part, settings)]


def _tried(part: str, settings: Settings) -> list[Finding]:
    """In another process: the model libraries are the worker's alone, and memory is given back."""
    values = {f"REPICK_{name.upper()}": str(getattr(settings, name)) for name in MODEL_SETTINGS}
    done = subprocess.run(
        [sys.executable, "-m", "worker.check", part],
        env={**os.environ, **values},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    found = [
        Finding(**{**one, "verdict": Verdict(one["verdict"])}) for one in map(json.loads, lines)
    ]
    if done.returncode and healthy(found):
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        found.append(Finding(f"{part} model", Verdict.FAIL, f"the check broke off: {said}"))
    return found


def _disk(folder: Path) -> Finding:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    share = usage.free / usage.total
    detail = f"{usage.free / 1e9:.1f} GB free ({share:.0%}) of {usage.total / 1e9:.1f} GB"
    return Finding("disk", _graded(share, DISK_WARN, DISK_FAIL), detail)


def _media(settings: Settings) -> Finding:
    try:
        media_store(settings).exists(0, bytes(32))
    except RepickError as exc:
        return Finding("media", Verdict.FAIL, exc.detail)
    kind = "object store" if settings.media_url else str(settings.media_folder)
    return Finding("media", Verdict.OK, kind)


def clock(part: str, skew_s: float) -> Finding:
    """Leases are by Postgres's clock alone; a key's expiry and the logs are read by people."""
    verdict = _graded(-abs(skew_s), -SKEW_WARN_S, -SKEW_FAIL_S)
    return Finding(part, verdict, f"{skew_s:+.2f} s from this machine's")


def _graded(value: float, warn_under: float, fail_under: float) -> Verdict:
    if value < fail_under:
        return Verdict.FAIL
    return Verdict.WARN if value < warn_under else Verdict.OK


def _numbers(version_text: str) -> tuple[int, ...]:
    parts = version_text.split(".")
    return tuple(int(part) for part in parts if part.isdigit())


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _reason(exc: Exception) -> str:
    """The kind of failure, and of Postgres's own driver the last words of its first line: nothing
    else, since other messages hold addresses with passwords."""
    cause = exc.__cause__ or exc
    driver = getattr(cause, "orig", None)
    words = str(driver).partition("\n")[0].rpartition("failed: ")[2] if driver else ""
    return f"{type(cause).__name__}: {words}" if words else type(cause).__name__
