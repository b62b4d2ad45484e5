"""What bird may read of root's."""

import os
from pathlib import Path

import pytest

from cni.bgp.account import Account, share

OWN = Account("me", "mine", os.getuid(), os.getgid())


@pytest.mark.parametrize(("account", "mode"), [(None, 0o600), (OWN, 0o640)], ids=["root", "another"])
def test_a_shared_file(account: Account | None, mode: int, tmp_path: Path) -> None:
    file = tmp_path / "bird.conf"
    file.write_text("")
    file.chmod(0o666)

    share(file, account)

    assert file.stat().st_mode & 0o777 == mode


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    """bird may write to its directory: what it puts there must not lead root to other files."""
    other, link = tmp_path / "shadow", tmp_path / "bird.conf"
    other.write_text("")
    other.chmod(0o400)
    link.symlink_to(other)

    with pytest.raises(OSError, match="symbolic links"):
        share(link, OWN)

    assert other.stat().st_mode & 0o777 == 0o400
