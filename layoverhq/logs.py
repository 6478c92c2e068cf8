"""Structured logs: one line an event, with the request's id, JSON in production."""

from __future__ import annotations

import logging.config
from typing import Any

import structlog

from layoverhq import context


def add_context(
    logger: Any, method: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Add what is known of the running request to a log line."""
    bound = context.current()
    if bound.request_id:
        event["request_id"] = bound.request_id
    if bound.enterprise_id:
        event["enterprise_id"] = str(bound.enterprise_id)
    return event


SHARED: list[structlog.types.Processor] = [
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    add_context,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


def logging_configuration(*, json: bool, level: str) -> dict[str, Any]:
    """Return the dictConfig through which the standard library's loggers take the same form."""
    renderer: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if json
        else [
            structlog.dev.ConsoleRenderer(
                colors=False, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": SHARED,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *renderer,
                ],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # It would log every address that is called, query and all.
            "httpx": {"level": "WARNING"},
            # Our own middleware logs requests, with their ids.
            "django.request": {"level": "ERROR"},
            "django.server": {"level": "WARNING"},
        },
    }


# One list for good: loggers keep the one that they were first used with.
PROCESSORS: list[structlog.types.Processor] = [
    structlog.stdlib.filter_by_level,
    *SHARED,
    structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
]


def configure(configuration: dict[str, Any]) -> None:
    """Configure both logging worlds; Django calls it with LOGGING."""
    logging.config.dictConfig(configuration)
    structlog.configure(
        processors=PROCESSORS,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
