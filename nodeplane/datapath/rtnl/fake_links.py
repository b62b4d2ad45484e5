"""The fake's links: their names, kinds, addresses of Ethernet and MTUs, and what goes with one."""

import errno
from ipaddress import IPv4Interface

import msgspec

from nodeplane.datapath.rtnl import fake_addresses, fake_neighbours, fake_routes
from nodeplane.datapath.rtnl.fake_state import State
from nodeplane.datapath.rtnl.link import ALIAS_BYTES, Link, Vxlan
from nodeplane.errors import kernel_error

_NO_MAC = "00:00:00:00:00:00"
_LOOPBACK = IPv4Interface("127.0.0.1/8")
_LOOPBACK_MTU_BYTES = 65536
_ETHERNET_MTU_BYTES = 1500
# net/core/dev.c: ETH_MIN_MTU and ETH_MAX_MTU.
_MTU_BYTES = range(68, 65536)
_NAME_BYTES = 15
_VXLAN_MTU_BYTES = {4: 1450, 6: 1430}
_VNIS = range(1 << 24)


def add_loopback(state: State) -> None:
    """Make the link that every namespace has."""
    _insert(state, "lo", "", _NO_MAC, _LOOPBACK_MTU_BYTES)


def read(state: State, name: str) -> Link:
    """Return a link as the kernel tells of it."""
    link = state.link(f"read link {name}", name)
    if name not in state.peers:
        return link
    there, peer = state.peers[name]
    far = there.links[peer]
    # A veth has a carrier while both ends are up (drivers/net/veth.c).
    return msgspec.structs.replace(link, peer_index=far.index, has_carrier=link.is_up and far.is_up)


def add_veth(
    ends: tuple[tuple[State, str, str | None], tuple[State, str, str | None]], mtu_bytes: int | None
) -> None:
    """Make a veth pair of two ends, each a namespace, a name and the Ethernet address that it is to have."""
    (here, name, mac), (there, peer, peer_mac) = ends
    operation = f"create veth {name} with peer {peer}"
    mtu = _ETHERNET_MTU_BYTES if mtu_bytes is None else mtu_bytes
    for side, new in ((there, peer), (here, name)):
        _check_name(operation, new)
        if new in side.links or (there is here and name == peer):
            raise kernel_error(operation, errno.EEXIST)
    if mtu not in _MTU_BYTES:
        raise kernel_error(operation, errno.EINVAL)
    for given in (mac, peer_mac):
        _check_mac(operation, given)
    _insert(there, peer, "veth", peer_mac or there.next_mac(), mtu)
    _insert(here, name, "veth", mac or here.next_mac(), mtu)
    here.peers[name], there.peers[peer] = (there, peer), (here, name)


def add_plain(state: State, name: str, kind: str) -> None:
    """Make a link of a kind that needs to be told nothing."""
    operation = f"create {kind} {name}"
    _check_name(operation, name)
    if name in state.links:
        raise kernel_error(operation, errno.EEXIST)
    _insert(state, name, kind, state.next_mac(), _ETHERNET_MTU_BYTES)


def add_vxlan(state: State, name: str, vxlan: Vxlan, mac: str | None, mtu_bytes: int | None) -> None:
    """Make a VXLAN link."""
    operation = f"create vxlan {name}"
    _check_name(operation, name)
    # The kernel makes room for its headers in what one of 1500 bytes leaves.
    mtu = _VXLAN_MTU_BYTES[vxlan.local.version] if mtu_bytes is None else mtu_bytes
    if name in state.links or any(_collide(vxlan, other) for other in state.vxlans.values()):
        raise kernel_error(operation, errno.EEXIST)
    _check_mac(operation, mac)
    if mtu not in _MTU_BYTES:
        raise kernel_error(operation, errno.EINVAL)
    if vxlan.vni not in _VNIS:
        raise kernel_error(operation, errno.ERANGE)
    _insert(state, name, "vxlan", mac or state.next_mac(), mtu)
    # What the kernel has no place for (vxlan_nl2conf).
    fragmentation = vxlan.fragmentation if vxlan.local.version == 4 else "unset"
    state.vxlans[name] = msgspec.structs.replace(vxlan, fragmentation=fragmentation)


def delete(state: State, name: str) -> None:
    """Delete a link and its peer."""
    operation = f"delete link {name}"
    if state.link(operation, name).kind == "":
        raise kernel_error(operation, errno.EOPNOTSUPP)
    if name in state.peers:
        _remove(*state.peers[name])
    _remove(state, name)
    state.writes += 1


def set_up(state: State, name: str) -> None:
    """Set a link up."""
    _change(state, name, is_up=True, has_carrier=state.link(f"set link {name} up", name).kind == "")
    if name == "lo":
        # net/ipv4/devinet.c, inetdev_event: the kernel itself does this.
        state.addresses[name].setdefault(_LOOPBACK, "host")


def set_down(state: State, name: str) -> None:
    """Set a link down, and forget what the kernel then does."""
    _change(state, name, is_up=False, has_carrier=False)
    # net/ipv6/addrconf.c, addrconf_ifdown: unless keep_addr_on_down says otherwise.
    fake_addresses.drop_ipv6(state, name)
    fake_routes.drop(state, name)
    # Also permanent ones (net/core/neighbour.c, neigh_ifdown).
    fake_neighbours.drop_neighbours(state, name)


def set_master(state: State, name: str, master: str | None) -> None:
    """Make a link a bridge's port, or free it."""
    operation = f"set link {name} master {master}"
    if master is not None and state.link(operation, master).kind != "bridge":
        raise kernel_error(operation, errno.EOPNOTSUPP)
    _change(state, name, master=master)


def set_mac(state: State, name: str, mac: str) -> None:
    """Set a link's Ethernet address."""
    _check_mac(f"set link {name} address {mac}", mac)
    _change(state, name, mac=mac)
    # Also when it is the same one (net/core/neighbour.c, neigh_changeaddr).
    fake_neighbours.drop_neighbours(state, name)


def set_mtu(state: State, name: str, mtu_bytes: int) -> None:
    """Set a link's MTU."""
    if mtu_bytes not in _MTU_BYTES:
        raise kernel_error(f"set link {name} mtu {mtu_bytes}", errno.EINVAL)
    _change(state, name, mtu_bytes=mtu_bytes)


def set_alias(state: State, name: str, alias: str) -> None:
    """Set a link's free text."""
    if len(alias.encode()) > ALIAS_BYTES:
        raise kernel_error(f"set link {name} alias {alias!r}", errno.ERANGE)
    _change(state, name, alias=alias)


def _change(state: State, name: str, **fields: object) -> None:
    changed = msgspec.structs.replace(state.link(f"set link {name}", name), **fields)
    if changed != state.links[name]:
        state.links[name] = changed
        state.writes += 1


def _insert(state: State, name: str, kind: str, mac: str, mtu_bytes: int) -> None:
    state.links[name] = Link(name, next(state.indexes), kind, mac, mtu_bytes, is_up=False, has_carrier=False)
    state.addresses[name] = {}
    state.writes += 1


def _remove(state: State, name: str) -> None:
    fake_routes.drop(state, name)
    fake_neighbours.drop(state, name)
    state.peers.pop(name, None)
    state.vxlans.pop(name, None)
    del state.links[name], state.addresses[name]
    for port, link in state.links.items():
        if link.master == name:
            state.links[port] = msgspec.structs.replace(link, master=None)


def _collide(one: Vxlan, other: Vxlan) -> bool:
    """Say whether two would receive the same packets (vxlan_core.c, vxlan_config_validate)."""
    return (one.vni, one.port, one.local.version) == (other.vni, other.port, other.local.version)


def _check_mac(operation: str, mac: str | None) -> None:
    """Refuse an address that no link may have (net/ethernet/eth.c, eth_prepare_mac_addr_change)."""
    if mac is not None and (int(mac[:2], 16) & 1 or mac == _NO_MAC):
        raise kernel_error(operation, errno.EADDRNOTAVAIL)


def _check_name(operation: str, name: str) -> None:
    """Refuse a link name as the kernel does (net/core/dev.c, dev_valid_name)."""
    if len(name) > _NAME_BYTES:
        raise kernel_error(operation, errno.ERANGE)
    if name in {"", ".", ".."} or any(character in "/:" or character.isspace() for character in name):
        raise kernel_error(operation, errno.EINVAL)
