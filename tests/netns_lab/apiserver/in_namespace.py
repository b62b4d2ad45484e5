"""The real `netns-lab apiserver` inside of a network namespace, and what people do to its objects."""

import json
import ssl
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2

from nodeplane.datapath import netns
from tests.netns_lab.apiserver.process import apiserver

LIMIT_S = 90.0


class ServerInNamespace:
    """A server of a directory and a port, run and killed as often as wanted."""

    def __init__(self, ns: Path, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self.process: subprocess.Popen[str] | None = None
        self._ns = ns
        self._stack = ExitStack()

    @property
    def kubeconfig(self) -> Path:
        """A file with all that a client needs."""
        return self.directory / "kubeconfig"

    def start(self) -> None:
        """Start, and wait until it answers."""
        with netns.inside(self._ns):
            self.process = self._stack.enter_context(
                apiserver(self.directory, "--listen", f"127.0.0.1:{self.port}")
            )

    def kill(self) -> None:
        """End it by SIGKILL; one that has ended is fine."""
        self._stack.close()

    def read(self, path: str) -> Any:
        """Return an object that is there."""
        done = self._request("GET", path)
        assert done.is_success, done.text
        return done.json()

    def write(self, path: str, value: dict[str, Any]) -> None:
        """Create an object of a collection, or change it."""
        done = self._request("PATCH", f"{path}/{value['metadata']['name']}", value)
        if done.status_code == 404:
            done = self._request("POST", path, value)
        assert done.is_success, done.text

    def write_status(self, path: str, value: dict[str, Any]) -> None:
        """Change an object's status."""
        done = self._request("PATCH", f"{path}/{value['metadata']['name']}/status", value)
        assert done.is_success, done.text

    def delete(self, path: str) -> None:
        """Delete an object that is there."""
        done = self._request("DELETE", path)
        assert done.is_success, done.text

    def _request(self, method: str, path: str, value: Any = None) -> httpx2.Response:
        token = (self.directory / "token").read_text().strip()
        media_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
        with (
            netns.inside(self._ns),
            httpx2.Client(
                base_url=f"https://127.0.0.1:{self.port}",
                verify=ssl.create_default_context(cafile=str(self.directory / "ca.crt")),
                headers={"authorization": f"Bearer {token}", "content-type": media_type},
                trust_env=False,
                timeout=LIMIT_S,
            ) as client,
        ):
            return client.request(method, path, content=None if value is None else json.dumps(value))
