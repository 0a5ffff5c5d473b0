"""Logs: one line an event, for people on a terminal and as JSON elsewhere."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

_SECRETS = (
    (re.compile(r"rpk_([0-9a-f]{12})_[0-9a-f]+"), r"rpk_\1_[secret]"),
    (re.compile(r"(\w://[^\s:/@]*:)[^\s@]+@"), r"\1[secret]@"),
)
"""An API key keeps its prefix, by which it can be revoked; an address loses its password."""


def redacted(_logger: object, _method: str, event: EventDict) -> EventDict:
    """A processor: no key and no password of an address in any value, whoever put it there."""
    return {name: _redact(value) for name, value in event.items()}


def _redact(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _redact(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_redact(one) for one in value]
    if not isinstance(value, str):
        return value
    for pattern, instead in _SECRETS:
        value = pattern.sub(instead, value)
    return value


def configure(process: str, level: int = logging.INFO) -> None:
    """Set up structlog for one process; every JSON line carries the process's name."""

    def named(_logger: object, _method: str, event: EventDict) -> EventDict:
        return {**event, "process": process}

    pretty = sys.stderr.isatty() or "FORCE_COLOR" in os.environ
    plain_traceback = structlog.dev.plain_traceback
    render: list[Processor] = (
        [
            redacted,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(exception_formatter=plain_traceback, pad_event_to=0),
        ]
        if pretty
        else [
            named,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redacted,
            structlog.processors.JSONRenderer(),
        ]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
