"""The archive of the first file system, read by somebody else's program."""

import stat
import subprocess
from pathlib import Path

from netns_lab.vm.newc import character_device, directory, regular, render_archive

ENTRIES = (
    directory("bin"),
    regular("bin/tool", b"#!/bin/sh\n", 0o755),
    regular("empty", b""),
    regular("odd", b"\0" * 4097),
    character_device("console", 5, 1),
)


def test_busybox_unpacks_it(tmp_path: Path) -> None:
    archive = render_archive(ENTRIES[:4])
    command = ("busybox", "cpio", "-id")
    subprocess.run(command, input=archive, cwd=tmp_path, capture_output=True, check=True)

    assert (tmp_path / "bin/tool").read_bytes() == b"#!/bin/sh\n"
    assert (tmp_path / "bin/tool").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "empty").read_bytes() == b""
    assert (tmp_path / "odd").read_bytes() == b"\0" * 4097


def test_a_device_has_its_numbers() -> None:
    head = render_archive(ENTRIES[4:])

    # buffer-format.rst: magic, then fields of eight hexadecimal digits; mode is the second, rmaj and rmin the
    # tenth and eleventh.
    fields = [int(head[6 + 8 * index : 14 + 8 * index], 16) for index in range(13)]
    assert (fields[1], fields[9], fields[10]) == (stat.S_IFCHR | 0o600, 5, 1)
