"""One datagram to whoever supervises us, and never a failure because of it."""

import secrets
import socket
from pathlib import Path

import pytest

from nodeplane.runtime.sd_notify import notify


@pytest.mark.parametrize("abstract", [pytest.param(False, id="path"), pytest.param(True, id="abstract")])
def test_notify(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state arrives as it is; `@` stands for the NUL of an abstract address (sd_notify(3))."""
    name = f"npt-{secrets.token_hex(8)}" if abstract else str(tmp_path / "s")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(f"\0{name}" if abstract else name)
        supervisor.settimeout(30)
        notify("READY=1")
        notify("STOPPING=1")

        assert [supervisor.recv(100), supervisor.recv(100)] == [b"READY=1", b"STOPPING=1"]


@pytest.mark.parametrize(
    "address",
    [
        pytest.param(None, id="not set"),
        pytest.param("", id="empty"),
        pytest.param("/nowhere/s", id="no socket there"),
        pytest.param("@npt-nobody", id="nobody listens"),
        pytest.param("/" + "x" * 200, id="too long for an address"),
    ],
)
def test_nobody_to_tell(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor that has gone, or never was, stops nothing."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)

    notify("READY=1")
