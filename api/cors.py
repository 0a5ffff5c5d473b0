"""Pages of other origins: none may read an answer, but those that the operator names."""

from __future__ import annotations

import re

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-]+(:\d{1,5})?|https?://\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_SENT = ("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Prefer")
_READ = (
    *("Idempotency-Replayed", "Link", "Location", "Preference-Applied", "Retry-After"),
    "X-Request-ID",
)


def parse_origins(setting: str) -> list[str]:
    """`https://a.example,https://b.example:8443` as a list.

    Raises ValueError on what is no origin; `*` is none: keys of tenants are not for every page.
    """
    origins = [one.strip() for one in setting.split(",") if one.strip()]
    for one in origins:
        if not _ORIGIN.fullmatch(one):
            raise ValueError(f"REPICK_CORS_ORIGINS: {one!r} is no origin (https://host[:port])")
    return origins


def install(app: FastAPI, setting: str) -> None:
    """Without origins nothing is added: browsers then keep every answer from other pages.

    Raises ValueError as `parse_origins` does.
    """
    origins = parse_origins(setting)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=_METHODS,
            allow_headers=_SENT,
            expose_headers=_READ,
        )
