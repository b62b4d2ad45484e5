"""Where a daemon listens: `127.0.0.1:10249`, `[::]:10256`, `:8080`, and the sockets for it."""

import errno
import socket
from ipaddress import ip_address

import msgspec

from nodeplane.errors import kernel_error

_BACKLOG = 128
_PORTS = range(1, 1 << 16)
# Without IPv6 in the kernel or in this namespace there is no socket, or no address to bind it to.
_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


class ListenAddress(msgspec.Struct, frozen=True):
    """An address and a port; an empty or unspecified host means all addresses of both families."""

    host: str
    port: int

    @property
    def is_everywhere(self) -> bool:
        """Whether the host is no address in particular."""
        return not self.host or ip_address(self.host).is_unspecified

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen_address(text: str, default_port: int | None = None) -> ListenAddress:
    """Read `A:P`, `[A]:P` or `:P`; where there is a default port, an address alone too.

    Raises:
        ValueError: it is none; says what is expected.
    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if default_port is not None and _is_address(bare):
        return ListenAddress(bare, default_port)
    host, _, port_text = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if is_bracketed else host
    is_host = _is_address(host) if host else not is_bracketed
    is_port = port_text.isascii() and port_text.isdigit() and int(port_text) in _PORTS
    # Without brackets nobody can tell where an IPv6 address ends.
    if not is_host or not is_port or (":" in host) != is_bracketed:
        raise ValueError(f"expected an IP address and a port, such as 127.0.0.1:10249, got {text!r}")
    return ListenAddress(host, int(port_text))


def open_listener(address: ListenAddress) -> socket.socket:
    """Listen on an address; on all of both families if it is unspecified, as Go's `net.Listen` does.

    Raises:
        KernelError: the address is taken or not ours.
    """
    if address.is_everywhere:
        try:
            return _listen(socket.AF_INET6, "::", address.port, is_alone=False)
        except OSError as exc:
            if exc.errno not in _NO_IPV6:
                raise kernel_error(f"listen on {address}", exc.errno or errno.EIO) from exc
            address = msgspec.structs.replace(address, host="0.0.0.0")  # noqa: S104
    return open_family_listener(address)


def open_family_listener(address: ListenAddress) -> socket.socket:
    """Listen on an address in its own family only: `::` leaves IPv4 to another socket.

    Raises:
        KernelError: the address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return _listen(family, address.host, address.port, is_alone=True)
    except OSError as exc:
        raise kernel_error(f"listen on {address}", exc.errno or errno.EIO) from exc


def _listen(family: socket.AddressFamily, host: str, port: int, *, is_alone: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        # A restart must not wait for connections of the last run to time out.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, is_alone)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
