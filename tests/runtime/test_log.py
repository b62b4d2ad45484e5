"""One event is one line on stderr."""

import json
import logging
import re

import pytest

from nodeplane.runtime.log import LogFormat, setup_logging

log = logging.getLogger("nodeplane.test")


@pytest.mark.parametrize(
    ("verbosity", "levels"),
    [
        pytest.param(0, ["info", "warning"], id="usual"),
        pytest.param(1, ["debug", "info", "warning"], id="-v"),
        pytest.param(2, ["debug", "info", "warning"], id="-vv"),
    ],
)
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_verbosity(
    log_format: LogFormat, verbosity: int, levels: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Debug lines show only when asked for; all lines go to stderr."""
    setup_logging(log_format, verbosity)
    log.debug("a")
    log.info("b")
    log.warning("c")
    out, err = capsys.readouterr()

    assert out == ""
    assert [re.findall(r"debug|info|warning", line.lower())[0] for line in err.splitlines()] == levels


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    """For people: time, level, logger, message."""
    setup_logging("text", 0)
    log.info("synced added=%d", 3)

    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO nodeplane\.test synced added=3\n", capsys.readouterr().err
    )


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """For machines: one object a line, whatever the message holds, with a time that names its zone."""
    setup_logging("json", 0)
    log.warning('two\nlines "é"')
    (line,) = capsys.readouterr().err.splitlines()
    fields = json.loads(line)

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", fields.pop("time"))
    assert fields == {"level": "warning", "logger": "nodeplane.test", "message": 'two\nlines "é"'}


def test_json_exception(capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback is a field of its line."""
    setup_logging("json", 0)
    log.error("failed", exc_info=ValueError("why"))
    (line,) = capsys.readouterr().err.splitlines()

    assert json.loads(line)["exception"].splitlines()[-1] == "ValueError: why"


def test_set_up_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """The last set-up counts, and a line still shows once."""
    setup_logging("text", 1)
    setup_logging("json", 0)
    log.debug("a")
    log.info("b")

    assert [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()] == ["b"]


@pytest.mark.parametrize("library", ["httpx2", "httpcore2", "asyncio"])
def test_libraries_tell_nothing_at_debug(library: str, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging("text", 1)
    logging.getLogger(library).debug("a")
    logging.getLogger(library).warning("b")

    assert re.findall(rf"{library} (.*)", capsys.readouterr().err) == ["b"]
