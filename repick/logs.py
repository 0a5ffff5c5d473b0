"""Logs: one line an event, for people on a terminal and as JSON elsewhere."""

from __future__ import annotations

import logging
import os
import sys

import structlog
from structlog.typing import EventDict, Processor


def configure(process: str, level: int = logging.INFO) -> None:
    """Set up structlog for one process; every JSON line carries the process's name."""

    def named(_logger: object, _method: str, event: EventDict) -> EventDict:
        return {**event, "process": process}

    pretty = sys.stderr.isatty() or "FORCE_COLOR" in os.environ
    plain_traceback = structlog.dev.plain_traceback
    render: list[Processor] = (
        [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(exception_formatter=plain_traceback, pad_event_to=0),
        ]
        if pretty
        else [
            named,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
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
