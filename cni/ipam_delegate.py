"""Who gives the addresses: the IPAM plugin that the configuration names.

Ours is called in this process, with the same request and the same answer as if it were run; every other is
run (`cni.delegation`).
"""

from collections.abc import Mapping
from functools import partial

from cni.delegation import run_delegate
from ipam import plugin as nodeplane_ipam
from nodeplane.cniresult import Result
from nodeplane.cnispec import CniError, Command, ErrorCode, Request
from nodeplane.datapath.rtnl import Address

OURS = "nodeplane-ipam"
_COMMANDS = ("ADD", "DEL", "CHECK", "GC", "STATUS")

_IN_PROCESS: Mapping[str, Mapping[str, Command]] = {OURS: nodeplane_ipam.COMMANDS}


def find_ipam(kind: str) -> Mapping[str, Command]:
    """Return what the IPAM plugin of that type does for each command, for some perhaps nothing."""
    if kind in _IN_PROCESS:
        return _IN_PROCESS[kind]
    return {command: partial(run_delegate, kind, command) for command in _COMMANDS}


def call_ipam(kind: str, command: str, request: Request) -> None:
    """Have the IPAM plugin do its part of a command that has no result; without a type there is none."""
    step = find_ipam(kind).get(command) if kind else None
    if step is not None:
        step(request)


def needs_link(kind: str) -> bool:
    """Say whether the IPAM plugin wants the pod's interface first, since it asks through it."""
    return kind == "dhcp"


def pod_addresses(result: Result) -> tuple[Address, ...]:
    """Return the addresses out of an IPAM plugin's result; prefixes mean nothing on a routed link.

    Raises:
        CniError: there is none, or one stands twice.
    """
    addresses = tuple(ip.address.ip for ip in result.ips)
    if not addresses or len(set(addresses)) != len(addresses):
        got = ", ".join(map(str, addresses)) or "none"
        raise CniError(ErrorCode.INVALID_CONFIG, "ipam: expected addresses, each once", f"got {got}")
    return addresses
