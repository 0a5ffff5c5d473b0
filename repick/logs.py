"""Logs: one line an event, for people on a terminal and as JSON elsewhere."""

from __future__ import annotations

import logging
import os
import sys

import structlog


def configure(process: str, level: int = logging.INFO) -> None:
    """Set up structlog for one process; every line carries the process's name."""
    pretty = sys.stderr.isatty() or "FORCE_COLOR" in os.environ
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
