"""What another run in mode ipvs has left, to a run in mode nftables.

New connections are translated by the table's rules, before IPVS sees them; those that IPVS leads go on being
led, until they have ended or their time is up. Then nothing is left, the link neither.
"""

import time
from collections.abc import Callable, Sequence

from kubeproxy.ipvs.address_link import AddressLink
from kubeproxy.ipvs.balancer import Balancer
from kubeproxy.ipvs.layout import BALANCER_MAPS
from kubeproxy.ipvs.service_writer import raise_first
from nodeplane.datapath.nft.table import ElementChange
from nodeplane.errors import KernelError


class Leftover:
    """Virtual services and the link that nobody wants.

    Args:
        balancers: Those of each family.
        link: The link.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        balancers: Sequence[Balancer],
        link: AddressLink,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._balancers = balancers
        self._link = link
        self._clock = clock
        self._has_begun = False
        self.is_draining = True

    def drain(self) -> int:
        """Take away what no connection needs; at first everything begins to wait. The table is not concerned.

        Raises:
            KernelError: the kernel refused.
        """
        if not self.is_draining:
            return 0
        errors: list[KernelError] = []
        for balancer in self._balancers:
            if self._has_begun:
                errors += balancer.drain(self._clock())
            else:
                held = balancer.read()
                gone = {name: ElementChange(remove=tuple(held[name])) for name in BALANCER_MAPS}
                change = balancer.plan(gone)
                errors += [*balancer.bring(change), *balancer.leave(change, self._clock())]
        raise_first(errors)
        self._has_begun = True
        if not any(balancer.is_draining for balancer in self._balancers):
            self._link.delete()
            self.is_draining = False
        return 0
