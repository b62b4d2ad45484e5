"""How clients get in: the bearer token, and the kubeconfig that holds it."""

import base64
import re
import secrets
from pathlib import Path

import yaml

from netns_lab.apiserver.certificates import write_private
from nodeplane.errors import ConfigError

_NAME = "netns-lab"


def ensure_token(directory: Path) -> str:
    """Return the token in a directory, made when there is none.

    Raises:
        ConfigError: the file is there, and nobody could have got in with what it holds.
    """
    path = directory / "token"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32).encode())
    token = path.read_text(errors="replace").strip()
    # An empty one would let everybody in who sends an empty one.
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise ConfigError(str(path), "", "expected one token of printable ASCII characters")
    return token


def render_kubeconfig(url: str, ca: bytes, token: str) -> str:
    """Return a kubeconfig for one cluster, with everything inside."""
    cluster = {"server": url, "certificate-authority-data": base64.b64encode(ca).decode()}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": _NAME, "cluster": cluster}],
        "users": [{"name": _NAME, "user": {"token": token}}],
        "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": _NAME}}],
        "current-context": _NAME,
    }
    return yaml.safe_dump(config, sort_keys=False)
