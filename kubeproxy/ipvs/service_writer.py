"""Changes of virtual services, written; what the kernel refuses for one Service alone holds nothing else up.

An endpoint that is no address to send to is left out. A scheduler whose module is not there is the default
instead, until the next start.
"""

import errno
import logging
from collections.abc import Sequence

import msgspec

from kubeproxy.ipvs.layout import VirtualService
from nodeplane.datapath.ipvs.service import (
    Change,
    NewServers,
    NewService,
    ServiceKey,
    ServiceOptions,
    SetService,
)
from nodeplane.datapath.ipvs.table import Ipvs
from nodeplane.errors import KernelError

log = logging.getLogger(__name__)


class ServiceWriter:
    """Writes to IPVS, and remembers which schedulers it has not.

    Args:
        ipvs: IPVS.
        default_scheduler: What Services get whose own is not there.
    """

    def __init__(self, ipvs: Ipvs, default_scheduler: str) -> None:
        self._ipvs = ipvs
        self._default_scheduler = default_scheduler
        self._missing: set[str] = set()

    def write(self, changes: Sequence[Change]) -> list[KernelError]:
        """Make changes; return what was refused, but for what one Service alone is to blame for."""
        errors: list[KernelError] = []
        again: dict[ServiceKey, list[Change]] = {}
        for position, error in sorted(self._ipvs.apply(changes).items()):
            change = changes[position]
            if error.errno == errno.EINVAL and isinstance(change, NewServers):
                log.error("endpoint left out, it is no address to send to error=%r", str(error))
            elif change.key in again:
                # Refused as its service was.
                again[change.key].append(change)
            elif error.errno == errno.ENOENT and isinstance(change, NewService | SetService):
                fallback = self._with_default(change)
                if fallback == change:
                    errors.append(error)
                    continue
                log.error("scheduler left out, the kernel has no such module error=%r", str(error))
                # Else each comparison would find it wrong, and be refused again.
                self._missing.add(change.options.scheduler)
                again[change.key] = [fallback]
            else:
                errors.append(error)
        retried = [change for part in again.values() for change in part]
        return [*errors, *self._ipvs.apply(retried).values()] if retried else errors

    def with_known_scheduler(self, wanted: VirtualService) -> VirtualService:
        """Return a virtual service with the default, if its own scheduler was refused before."""
        if wanted.options.scheduler not in self._missing:
            return wanted
        return VirtualService(self._default(wanted.options), wanted.servers)

    def _with_default(self, change: NewService | SetService) -> NewService | SetService:
        return msgspec.structs.replace(change, options=self._default(change.options))

    def _default(self, options: ServiceOptions) -> ServiceOptions:
        return msgspec.structs.replace(options, scheduler=self._default_scheduler)


def raise_first(errors: Sequence[KernelError]) -> None:
    """Raise the first of some errors, and log the others.

    Raises:
        KernelError: there is one.
    """
    for error in errors[1:]:
        log.error("sync failed error=%r", str(error))
    if errors:
        raise errors[0]
