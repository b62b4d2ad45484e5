"""What a credential plugin may answer, and how it may fail."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeplane.errors import ApiError, ConfigError, NodeplaneError
from nodeplane.kube.exec_plugin import Credential, ExecCommand, ExecPlugin, decode_answer

V1 = "client.authentication.k8s.io/v1"
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


def script(folder: Path, body: str) -> ExecPlugin:
    """Write a plugin in shell; it has a second."""
    path = folder / "plugin"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return ExecPlugin(ExecCommand(V1, str(path)), timeout_s=1)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param("echo first >&2; echo expired >&2; exit 3", "exit code 3: expired", id="fails"),
        pytest.param("exit 1", "exit code 1: $", id="fails without a word"),
        pytest.param("exec sleep 60", "no answer in 1 s", id="hangs"),
    ],
)
def test_failure(tmp_path: Path, body: str, expected: str) -> None:
    """A plugin that fails may succeed later: that is no wrong configuration."""
    with pytest.raises(ApiError, match=expected):
        asyncio.run(script(tmp_path, body).credential())


def test_one_run_serves_all(tmp_path: Path) -> None:
    """Whoever asks while the plugin runs gets its answer."""
    answer = f'{{{HEAD},"status":{{"token":"t"}}}}'
    plugin = script(tmp_path, f"echo run >> {tmp_path}/runs; echo '{answer}'")

    async def ask() -> list[Credential]:
        return await asyncio.gather(*(plugin.credential() for _ in range(5)))

    assert asyncio.run(ask()) == [Credential("t")] * 5
    assert (tmp_path / "runs").read_text() == "run\n"
