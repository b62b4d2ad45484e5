"""Logs on stderr: key=value text for people, JSON lines for machines."""

import json
import logging
import sys
from typing import Literal

LogFormat = Literal["text", "json"]

_setup: tuple[LogFormat, int] = ("text", 0)


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def setup_logging(log_format: LogFormat, verbosity: int) -> None:
    """Send logs to stderr; `verbosity` 0 shows info and above, 1 and more shows debug."""
    global _setup  # noqa: PLW0603  # the process's, as its loggers are
    _setup = log_format, verbosity
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler.setFormatter(_JsonLines() if log_format == "json" else text)
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if verbosity else logging.INFO, force=True)
    # The HTTP client logs each request, and at debug its head with the bearer token in it.
    # asyncio tells at debug which selector it uses, once for each loop.
    for library in ("httpx2", "httpcore2", "asyncio"):
        logging.getLogger(library).setLevel(logging.WARNING)


def current_setup() -> tuple[LogFormat, int]:
    """Return how this process logs: for one that it starts, and whose log is part of its own."""
    return _setup
