"""What the tests of kubeproxy share."""

from pathlib import Path

import pytest

from tests.kubeproxy.cli_stand import WEB


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    """A directory with one Service, as a file."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "web.yaml").write_text(WEB)
    return folder
