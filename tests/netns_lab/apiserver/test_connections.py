"""What an open connection costs: of a hundred nodes there are nearly a thousand."""

import re
import socket
import ssl
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.netns_lab.apiserver.process import apiserver
from tests.ready_process import READY_WITHIN_S

_CONNECTIONS = 40
_LIMIT_KIB = 200

pytestmark = pytest.mark.netns


def test_memory_of_a_watch(tmp_path: Path) -> None:
    """asyncio's own buffer alone would be 256 KiB."""
    with apiserver(tmp_path, "--store", "memory://") as process, ExitStack() as stack:
        _open_watch(tmp_path, stack)
        before = _memory_kib(process.pid)
        for _ in range(_CONNECTIONS):
            _open_watch(tmp_path, stack)
        each = (_memory_kib(process.pid) - before) / _CONNECTIONS

    assert each < _LIMIT_KIB


def _open_watch(directory: Path, stack: ExitStack) -> None:
    """Begin a watch, and wait until it has begun."""
    kubeconfig = (directory / "kubeconfig").read_text()
    port = int(re.findall(r"server: \S+:(\d+)", kubeconfig)[0])
    token = (directory / "token").read_text().strip()
    context = ssl.create_default_context(cafile=str(directory / "ca.crt"))
    plain = socket.create_connection(("127.0.0.1", port), timeout=READY_WITHIN_S)
    connection = stack.enter_context(context.wrap_socket(plain, server_hostname="127.0.0.1"))
    head = f"GET /api/v1/services?watch=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    connection.sendall(head.encode())
    assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def _memory_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.findall(r"^Anonymous: +(\d+) kB", text, re.MULTILINE)[0])
