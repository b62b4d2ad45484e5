"""What a credential plugin may answer, and how it may fail."""

import asyncio
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeplane.errors import ApiError, ConfigError, NodeplaneError
from nodeplane.kube.exec_plugin import Credential, ExecCommand, ExecPlugin, decode_answer

V1 = "client.authentication.k8s.io/v1"
LIMIT_S = 60
COMMAND = ExecCommand(V1, "plugin")
HEAD = f'"apiVersion":"{V1}","kind":"ExecCredential"'


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param('{"status":{"token":"t"}}', Credential("t"), id="token"),
        pytest.param(
            '{"status":{"clientCertificateData":"c","clientKeyData":"k"}}',
            Credential("", "c", "k"),
            id="certificate",
        ),
        pytest.param(
            '{"status":{"token":"t","expirationTimestamp":"2026-01-02T03:04:05Z"}}',
            Credential("t", expiration_timestamp=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
            id="expiring",
        ),
        pytest.param('{"spec":{},"status":{"token":"t","new":1}}', Credential("t"), id="unknown fields"),
    ],
)
def test_answer(answer: str, expected: Credential) -> None:
    """The status of an ExecCredential."""
    assert decode_answer(COMMAND, answer.replace("{", f"{{{HEAD},", 1).encode()) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param("", "expected an ExecCredential on stdout", id="nothing"),
        pytest.param("token", "expected an ExecCredential on stdout", id="no JSON"),
        pytest.param(f"{{{HEAD}}}", "missing required field `status`", id="no status"),
        pytest.param(f'{{{HEAD},"status":{{}}}}', "expected a token or a client certificate", id="empty"),
        pytest.param(f'{{{HEAD},"status":{{"clientKeyData":"k"}}}}', "together with its key", id="half"),
        pytest.param(
            f'{{{HEAD},"status":{{"token":"t","expirationTimestamp":"2026-01-02T03:04:05"}}}}',
            "expected a time with its zone",
            id="time without a zone",
        ),
        pytest.param(
            '{"apiVersion":"v1","kind":"ExecCredential","status":{"token":"t"}}',
            f"of {V1}",
            id="another version",
        ),
    ],
)
def test_wrong_answer(answer: str, expected: str) -> None:
    """The error names the plugin and what it should have said."""
    with pytest.raises(ConfigError, match=r"^plugin: ") as caught:
        decode_answer(COMMAND, answer.encode())

    assert expected in str(caught.value)


@given(st.binary(max_size=60))
def test_garbage(output: bytes) -> None:
    """Whatever a plugin prints is a credential or one error."""
    try:
        decode_answer(COMMAND, output)
    except NodeplaneError as exc:
        assert exc.exit_code == 2  # noqa: PT017  # garbage may as well be a credential


def script(folder: Path, body: str, timeout_s: float = 1) -> ExecPlugin:
    """Write a plugin in shell."""
    path = folder / "plugin"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return ExecPlugin(ExecCommand(V1, str(path)), timeout_s=timeout_s)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param("echo first >&2; echo expired >&2; exit 3", "exit code 3: expired", id="fails"),
        pytest.param("exit 1", "exit code 1: $", id="fails without a word"),
        pytest.param("exec sleep 60", "no answer in 1 s", id="hangs"),
        pytest.param("sleep 300", "no answer in 1 s", id="its child hangs"),
        pytest.param("sleep 300 & wait", "no answer in 1 s", id="waits for a child in the background"),
    ],
)
def test_failure(tmp_path: Path, body: str, expected: str) -> None:
    """A plugin that fails may succeed later: that is no wrong configuration."""

    async def ask() -> None:
        async with asyncio.timeout(LIMIT_S):
            await script(tmp_path, body).credential()

    with pytest.raises(ApiError, match=expected):
        asyncio.run(ask())


def test_its_children_end_with_it(tmp_path: Path) -> None:
    """What a plugin that hangs has started is killed as well: the pipe that its child holds ends."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    async def ask() -> bytes:
        # Not blocking, so that it is open before anybody writes.
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        try:
            with pytest.raises(ApiError, match="no answer in 1 s"):
                await script(tmp_path, f"(echo child; sleep 300) >{fifo}\nexit 0").credential()
            os.set_blocking(reader, True)
            async with asyncio.timeout(LIMIT_S):
                with os.fdopen(reader, "rb", closefd=False) as pipe:
                    return await asyncio.to_thread(pipe.read)
        finally:
            os.close(reader)

    # On a slow machine it may have been killed before its first word.
    assert asyncio.run(ask()) in {b"", b"child\n"}


def test_a_plugin_may_leave_something_running(tmp_path: Path) -> None:
    """A helper that stays and holds the plugin's output (an agent, say) does not hold the answer up."""
    answer = f'{{{HEAD},"status":{{"token":"t"}}}}'
    body = f"sleep 300 & echo $! >{tmp_path}/agent; echo '{answer}'"

    assert asyncio.run(script(tmp_path, body, timeout_s=LIMIT_S).credential()) == Credential("t")
    os.kill(int((tmp_path / "agent").read_text()), signal.SIGKILL)


def test_one_run_serves_all(tmp_path: Path) -> None:
    """Whoever asks while the plugin runs gets its answer."""
    answer = f'{{{HEAD},"status":{{"token":"t"}}}}'
    plugin = script(tmp_path, f"echo run >> {tmp_path}/runs; echo '{answer}'")

    async def ask() -> list[Credential]:
        return await asyncio.gather(*(plugin.credential() for _ in range(5)))

    assert asyncio.run(ask()) == [Credential("t")] * 5
    assert (tmp_path / "runs").read_text() == "run\n"
