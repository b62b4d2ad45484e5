"""Files that say what pods may send as: written, read, and what becomes of bad ones."""

import logging
from pathlib import Path

import pytest

from cni.features.source_state import (
    Sender,
    list_names,
    pick_own,
    read_link,
    read_loose,
    read_sender,
    read_senders,
    remove_drafts,
    remove_sender,
    write_sender,
)
from nodeplane.errors import KernelError

WEB = Sender("c1", "eth0", "net", "npl1", "02:00:00:00:00:07", ("10.0.0.5", "fd00::5"))
NEXT = Sender("c2", "eth0", "net", "npl1", "02:00:00:00:00:08", ("10.0.0.6",), ("10.9.0.0/16",))
FREE = Sender("c3", "eth0", "net", "npl2", "02:00:00:00:00:09", is_checked=False)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "not there yet"
    assert (list_names(folder), [*read_senders(folder)], read_sender(folder, WEB.file_name)) == ([], [], None)
    for sender in (WEB, NEXT, FREE, WEB):
        write_sender(folder, sender)

    assert {*read_senders(folder)} == {WEB, NEXT, FREE}
    assert read_loose(folder) == {"npl1", "npl2"}
    assert pick_own(list_names(folder), "c1", "eth0") == [WEB.file_name]
    assert pick_own(list_names(folder), "c1", "eth1") == []
    for _ in range(2):
        remove_sender(folder, WEB.file_name)
    assert {*read_senders(folder)} == {NEXT, FREE}


def test_sandboxes_of_one_pod_share_a_link(tmp_path: Path) -> None:
    for sender in (WEB, NEXT, FREE):
        write_sender(tmp_path, sender)

    assert {*read_link(tmp_path, "npl1")} == {WEB, NEXT}
    assert read_link(tmp_path, "npl2") == [FREE]
    assert read_link(tmp_path, "npl") == []


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '{"container_id": 5}'], ids=["empty", "fields", "list", "type"]
)
def test_a_file_that_makes_no_sense(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """A DEL has to succeed all the same."""
    write_sender(tmp_path, WEB)
    write_sender(tmp_path, NEXT)
    (tmp_path / "source-check" / WEB.file_name).write_text(text)

    with caplog.at_level(logging.WARNING):
        assert [*read_senders(tmp_path)] == [NEXT]
    assert "makes no sense" in caplog.text
    write_sender(tmp_path, WEB)
    assert read_sender(tmp_path, WEB.file_name) == WEB


def test_a_half_written_file_is_none(tmp_path: Path) -> None:
    write_sender(tmp_path, WEB)
    half = tmp_path / "source-check" / f"{NEXT.file_name}.new"
    half.write_text("{")

    assert [*read_senders(tmp_path)] == [WEB]
    assert read_link(tmp_path, "npl1") == [WEB]
    # Its DEL, whose ADD was killed, takes it away; so does GC.
    assert pick_own(list_names(tmp_path), "c2", "eth0") == [NEXT.file_name]
    remove_sender(tmp_path, NEXT.file_name)
    assert not half.exists()
    half.write_text("{")
    remove_drafts(tmp_path)
    assert list_names(tmp_path) == [WEB.file_name]


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "source-check").write_text("")

    with pytest.raises(KernelError, match=r"list .*source-check"):
        list_names(tmp_path)
    with pytest.raises(KernelError, match=r"write .*source-check"):
        write_sender(tmp_path, WEB)
