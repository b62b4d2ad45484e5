"""What several tests of cluster state begin with."""

from pathlib import Path

import pytest

from tests.kube.manifest_folder import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty directory."""
    return Folder(tmp_path / "manifests")
