"""Whether the addresses that a pod got are free: the kernel would take one twice without a word."""

from cni.error_codes import ADDRESS_EXISTS
from cni.wiring.plan import Plan
from nodeplane.cnispec import CniError
from nodeplane.datapath.rtnl import Address, Family, Rtnl

_FAMILIES: tuple[Family, Family] = (4, 6)


def require_free(plan: Plan, host: Rtnl, pod: Rtnl) -> None:
    """Refuse an address of the node's own, and one that the pod has on another interface.

    What an earlier ADD of this attachment gave is on the link that the plan names, and free. A route to
    another pod is in the way of ours, which `cni.wiring.apply` tells.

    Raises:
        CniError: an address is not free.
    """
    mine = {address.ip for address in plan.pod.addresses}
    for family in _FAMILIES:
        if family not in plan.families:
            continue
        for link, held in pod.addresses_by_link(family).items():
            taken = mine & {address.ip for address in held}
            if taken and link != plan.pod.link:
                raise _refusal(taken, f"on interface {link} of the container")
    own = {address for address in mine if host.is_own(address)}
    if own:
        raise _refusal(own, "the node's own")


def _refusal(addresses: set[Address], whose: str) -> CniError:
    text = ", ".join(sorted(map(str, addresses)))
    return CniError(ADDRESS_EXISTS, f"the pod got an address that is {whose}", text)
