"""The cache of kernels, with a stand-in for apt: nothing is fetched here."""

import lzma
import os
import struct
import threading
from pathlib import Path

import pytest

from netns_lab.vm.kernel_cache import Kernel, decode_newest, find_kernel
from nodeplane.errors import NodeplaneError, SetupError

META = """Package: linux-image-amd64
Version: 9.1.7-2
Provides: linux-image-generic, wireguard-modules (= 1.0.0)
Depends: {package} (= {version})
Description: Linux for 64-bit PCs (meta-package)
"""

# What apt and dpkg do, as far as they are asked: `download` leaves a file, `dpkg-deb -x` a tree.
STAND_INS = {
    "apt-cache": 'cat "$STAND_IN/meta"',
    "apt-get": """echo "$*" >>"$STAND_IN/calls"
        case $1 in
        download)
            [ -e "$STAND_IN/no-mirror" ] && { echo "E: no mirror" >&2; exit 100; }
            echo "$3" >kernel.deb ;;
        esac""",
    "dpkg-deb": 'mkdir -p "$3/boot" "$3/lib/modules/9.1" && cp "$STAND_IN/image" "$3/boot/vmlinuz-9.1"',
    "depmod": 'echo >"$2/lib/modules/$3/modules.dep"',
}


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory where the stand-ins find what they give out, and note what they were asked for."""
    folder = tmp_path / "debian"
    (folder / "bin").mkdir(parents=True)
    for name, script in STAND_INS.items():
        file = folder / "bin" / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
    payload = lzma.compress(b"\x7fELF kernel") + bytes(4)
    head = bytearray(1024)
    head[0x1F1], head[0x202:0x206] = 1, b"HdrS"
    struct.pack_into("<II", head, 0x248, 0, len(payload))
    (folder / "image").write_bytes(bytes(head) + payload)
    (folder / "calls").touch()
    offer(folder, "linux-image-9.1.0-7-amd64", "9.1.7-2")
    monkeypatch.setenv("STAND_IN", str(folder))
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    return folder


def offer(debian: Path, package: str, version: str) -> None:
    (debian / "meta").write_text(META.format(package=package, version=version))


def calls(debian: Path) -> list[str]:
    return (debian / "calls").read_text().splitlines()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            META.format(package="linux-image-9.1", version="9"), ("linux-image-9.1", "9"), id="found"
        ),
        pytest.param(
            "Depends: kmod, linux-image-6.12.1+deb12-amd64 (= 6.12.1-1~bpo12+1)\n",
            ("linux-image-6.12.1+deb12-amd64", "6.12.1-1~bpo12+1"),
            id="behind another, from backports",
        ),
        pytest.param("Package: linux-image-amd64\n", None, id="no dependency"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_decode_newest(text: str, expected: tuple[str, str] | None) -> None:
    assert decode_newest(text) == expected


def test_a_kernel_is_fetched_once(debian: Path, tmp_path: Path) -> None:
    first, second = (find_kernel(tmp_path / "cache") for _ in range(2))

    assert first == second == Kernel(tmp_path / "cache/linux-image-9.1.0-7-amd64_9.1.7-2")
    assert (first.image.read_bytes(), first.release) == (b"\x7fELF kernel", "9.1")
    assert (first.modules / "9.1/modules.dep").exists()
    assert calls(debian) == ["download -q linux-image-9.1.0-7-amd64=9.1.7-2"]


def test_two_at_once_fetch_once(debian: Path, tmp_path: Path) -> None:
    threads = [threading.Thread(target=find_kernel, args=(tmp_path / "cache",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(calls(debian)) == 1


def test_the_newest_only_when_asked(debian: Path, tmp_path: Path) -> None:
    """One generation is left for guests that still run."""
    cache = tmp_path / "cache"
    find_kernel(cache)
    folders = []
    for version in ("9.1.8-1", "9.1.9-1"):
        offer(debian, "linux-image-9.1.0-8-amd64", version)
        assert find_kernel(cache).folder.name != f"linux-image-9.1.0-8-amd64_{version}"
        folders.append(find_kernel(cache, newest=True).folder)

    assert find_kernel(cache).folder == folders[-1]
    assert sorted(entry for entry in cache.iterdir() if entry.is_dir()) == folders


def test_a_failed_download_leaves_nothing(debian: Path, tmp_path: Path) -> None:
    (debian / "no-mirror").touch()

    with pytest.raises(NodeplaneError, match="apt-get download -q failed: E: no mirror"):
        find_kernel(tmp_path / "cache")

    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == ["lock"]
    # Lists that are too old are the first thing to try.
    assert [call.split()[0] for call in calls(debian)] == ["download", "update", "download"]


def test_what_a_killed_fetch_left_is_removed(debian: Path, tmp_path: Path) -> None:
    (tmp_path / "cache/.fetching-x/kernel").mkdir(parents=True)

    kernel = find_kernel(tmp_path / "cache")

    assert sorted(entry.name for entry in (tmp_path / "cache").iterdir()) == [kernel.folder.name, "lock"]


def test_no_package(debian: Path, tmp_path: Path) -> None:
    (debian / "meta").write_text("")

    with pytest.raises(SetupError, match="linux-image-amd64: expected among apt's packages"):
        find_kernel(tmp_path / "cache")


def test_a_missing_tool_names_its_package(
    debian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (debian / "bin/depmod").unlink()
    monkeypatch.setenv("PATH", str(debian / "bin"))

    with pytest.raises(SetupError, match="depmod: expected in PATH; apt-get install kmod"):
        find_kernel(tmp_path / "cache")
