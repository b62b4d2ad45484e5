"""Token buckets and redirections in memory, as strict as the kernel; held to it by one contract test."""

import errno
from collections.abc import Iterable

from msgspec.structs import replace

from nodeplane.datapath.shaping import Bucket, Shape
from nodeplane.errors import kernel_error


class FakeShaper:
    """A `Shaper` without a kernel; `links` are there at first, and `mtus` says what ifbs were given."""

    def __init__(self, links: Iterable[str] = ()) -> None:
        self.mtus: dict[str, int] = {}
        self._shapes = dict.fromkeys(links, Shape())

    def read(self, name: str) -> Shape:
        """See `Shaper`."""
        return self._find(f"read link {name}", name)

    def add_ifb(self, name: str, mtu_bytes: int) -> None:
        """See `Shaper`."""
        operation = f"create ifb {name}"
        if name in self._shapes:
            raise kernel_error(operation, errno.EEXIST)
        self._shapes[name] = Shape()
        self.mtus[name] = mtu_bytes

    def limit(self, name: str, bucket: Bucket) -> None:
        """See `Shaper`."""
        self._shapes[name] = replace(self._find(f"limit link {name}", name), bucket=bucket)

    def unlimit(self, name: str) -> None:
        """See `Shaper`."""
        self._shapes[name] = replace(self._find(f"end the limit of link {name}", name), bucket=None)

    def redirect(self, name: str, target: str) -> None:
        """See `Shaper`."""
        operation = f"redirect link {name} to {target}"
        self._find(operation, target)
        self._shapes[name] = replace(self._find(operation, name), target=target)

    def undirect(self, name: str) -> None:
        """See `Shaper`."""
        operation = f"end the redirection of link {name}"
        self._shapes[name] = replace(self._find(operation, name), target=None)

    def _find(self, operation: str, name: str) -> Shape:
        if name not in self._shapes:
            raise kernel_error(operation, errno.ENODEV)
        return self._shapes[name]
