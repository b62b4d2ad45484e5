"""What host-local does to its files for one address, in this process and with the syncs that it leaves out.

From the sources of containernetworking/plugins (plugins/ipam/host-local/backend/disk): an exclusive flock on
the network's directory, a look through all reservations for one of the same container, `O_EXCL` on a file
named after the address, the container's id into it, and the address into `last_reserved_ip.0`. It syncs
nothing; here each file and the directory are synced, so that an answered address survives a power cut as it
does in our stores.
"""

import fcntl
import os
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path


class HostLocalFiles:
    """A directory of reservations.

    Args:
        directory: Where they are.
        network: The range.
        is_durable: Whether to sync, which host-local itself does not.
    """

    def __init__(self, directory: Path, network: IPv4Network, *, is_durable: bool) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._network = network
        self._is_durable = is_durable

    def add(self, container: str) -> IPv4Address:
        """Reserve the next address for a container."""
        with self._locked():
            self._find(container)
            address = self._next()
            while not self._reserve(address, container):
                address += 1
            self._write("last_reserved_ip.0", str(address))
            self._sync_directory()
        return address

    def delete(self, container: str) -> None:
        """Free what a container has."""
        with self._locked():
            for name in self._find(container):
                (self._directory / name).unlink()
            self._sync_directory()

    def _locked(self) -> "_Lock":
        return _Lock(self._directory / "lock")

    def _find(self, container: str) -> list[str]:
        text = f"{container}\r\neth0"
        return [
            name
            for name in os.listdir(self._directory)
            if name[0].isdigit() and (self._directory / name).read_text() == text
        ]

    def _next(self) -> IPv4Address:
        try:
            return IPv4Address((self._directory / "last_reserved_ip.0").read_text()) + 1
        except FileNotFoundError:
            return self._network[2]

    def _reserve(self, address: IPv4Address, container: str) -> bool:
        try:
            file = os.open(self._directory / str(address), os.O_RDWR | os.O_EXCL | os.O_CREAT, 0o600)
        except FileExistsError:
            return False
        try:
            os.write(file, f"{container}\r\neth0".encode())
            if self._is_durable:
                os.fsync(file)
        finally:
            os.close(file)
        return True

    def _write(self, name: str, text: str) -> None:
        file = os.open(self._directory / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(file, text.encode())
            if self._is_durable:
                os.fsync(file)
        finally:
            os.close(file)

    def _sync_directory(self) -> None:
        if self._is_durable:
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)


class _Lock:
    """An exclusive lock on a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def __enter__(self) -> None:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
