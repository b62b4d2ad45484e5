"""The token, and the kubeconfig that holds it."""

import base64
from pathlib import Path

import pytest
import yaml

from netns_lab.apiserver.access import ensure_token, render_kubeconfig
from nodeplane.errors import ConfigError


def test_a_token_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    token = ensure_token(tmp_path)

    assert len(token) >= 32
    assert ensure_token(tmp_path) == token
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["token"]


def test_a_token_of_ones_own_is_kept(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")

    assert ensure_token(tmp_path) == "secret"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b" \n", id="space"),
        pytest.param(b"one two", id="two words"),
        pytest.param(b"\xff\xfe", id="no text"),
    ],
)
def test_what_is_no_token_is_refused(tmp_path: Path, content: bytes) -> None:
    """Above all an empty one, which everybody knows."""
    (tmp_path / "token").write_bytes(content)

    with pytest.raises(ConfigError, match="token: expected one token"):
        ensure_token(tmp_path)


def test_a_kubeconfig_has_all_that_a_client_needs() -> None:
    config = yaml.safe_load(render_kubeconfig("https://[::1]:6443", b"authority", "secret"))

    contexts = {entry["name"]: entry["context"] for entry in config["contexts"]}
    clusters = {entry["name"]: entry["cluster"] for entry in config["clusters"]}
    users = {entry["name"]: entry["user"] for entry in config["users"]}
    used = contexts[config["current-context"]]
    assert clusters[used["cluster"]] == {
        "server": "https://[::1]:6443",
        "certificate-authority-data": base64.b64encode(b"authority").decode(),
    }
    assert users[used["user"]] == {"token": "secret"}
