"""A lean client of an API server: one kept connection, blocking, so that what is timed is the server."""

import http.client
import json
import ssl
from base64 import b64decode
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from nodeplane.datapath import netns


class ApiClient:
    """Writes to the API server that a kubeconfig leads to, from inside a namespace."""

    def __init__(self, kubeconfig: Path, ns: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = b64decode(cluster["certificate-authority-data"]).decode()
        url = urlsplit(cluster["server"])
        self._connection = http.client.HTTPSConnection(
            url.hostname or "", url.port, context=ssl.create_default_context(cadata=authority), timeout=60
        )
        self._headers = {
            "Authorization": f"Bearer {user['token']}",
            "Content-Type": "application/merge-patch+json",
        }
        with netns.inside(ns):
            self._connection.connect()

    def patch(self, path: str, body: Any) -> None:
        """Change an object; return when the server has said that it is done."""
        self._connection.request("PATCH", path, json.dumps(body), self._headers)
        response = self._connection.getresponse()
        answer = response.read()
        assert response.status == 200, answer

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()


def slice_path(namespace: str, name: str) -> str:
    """Return the path of an EndpointSlice."""
    return f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices/{name}"
