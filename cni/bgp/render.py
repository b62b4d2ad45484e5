"""A plan as bird's configuration, text for bird 2.

Own blocks are not in it: bird learns them from the kernel, where the agent keeps a blackhole route for each
(docs/adr/0012). So the text changes with nodes, pools and services, not with blocks.

    kernel ──learn──► blackholes that are blocks ─┐
    kernel ──learn──► foreign routes ─► next hops │
    direct ─► links' subnets         ─► next hops ├─► master table ─► neighbours (own prefixes only)
    services (static) ────────────────────────────┘        ▲ │
    neighbours (prefixes of pools) ────────────────────────┘ └─► kernel, protocol 12, metrics 32 and 1056
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from pathlib import Path

from cni.attachment import HOST_LINK_PREFIX
from cni.bgp.config import Community, Timers
from cni.bgp.neighbors import Neighbor
from cni.bgp.plan import Plan
from cni.routing.vxlan import LINK_NAMES
from ipam.model import Network
from nodeplane.datapath.rtnl import ROUTE_PROTOCOL

METRICS: Mapping[int, int] = {4: 32, 6: 1056}
"""The metrics of the routes that bird writes: an administrator's own, without a metric, come first.

Of IPv6 those have 1024 (linux/ipv6_route.h, IP6_RT_PRIO_USER).
"""
MOST_PATHS = 16

_ROUTER_ID = re.compile(r"^router id ([0-9.]+);$", re.MULTILINE)
# Links without next hops: pods', tunnels, the loopback, and what service proxies keep addresses on.
_NO_UPLINKS = (f"{HOST_LINK_PREFIX}*", *LINK_NAMES.values(), "lo", "kube-ipvs*", "nodelocaldns")
# For so long a restarted bird waits for its neighbours before it speaks, deletes and writes. A node that is
# down holds it up for no longer; sessions take two seconds when all is well.
_RESTART_WAIT_S = 10
# Repairs what was done to bird's routes: it does not listen for that. The agent does, as long as it runs
# (`cni.bgp.wiped_routes`). Learning is by the kernel's events.
_SCAN_S = 1
_LOG_BYTES = 1_000_000


def render_plan(plan: Plan, passwords: Mapping[Path, str], log_file: Path | None = None) -> str:
    """Render a plan; `passwords` holds what is in its password files. Logs go to stderr without a file."""
    return "\n".join(_lines(plan, passwords, log_file)) + "\n"


def kernel_protocol(version: int) -> str:
    """Return bird's name of what joins it to the kernel, for a family."""
    return f"kernel{version}"


def read_router_id(text: str) -> IPv4Address | None:
    """Return the router id of a configuration that was rendered; None if it has none."""
    found = _ROUTER_ID.search(text)
    return None if found is None else IPv4Address(found[1])


def _lines(plan: Plan, passwords: Mapping[Path, str], log_file: Path | None) -> Iterator[str]:
    yield "# Written by cni-agent, which overwrites changes; see docs/bgp.md."
    target = f'"{log_file}" {_LOG_BYTES} "{log_file}.1"' if log_file else "stderr"
    yield f"log {target} {{ info, remote, warning, error, auth, fatal, bug }};"
    # Seconds since the epoch: what reads the states needs no time zone.
    yield 'timeformat protocol "%s.%3f";'
    yield f"router id {plan.own.router_id};"
    yield f"graceful restart wait {_RESTART_WAIT_S};"
    yield "protocol device {"
    yield "  scan time 10;"
    yield "}"
    # Without it next hops do not resolve, and what is learned becomes unreachable.
    yield "protocol direct {"
    yield "  ipv4;"
    yield "  ipv6;"
    links = (*(f'-"{name}"' for name in _NO_UPLINKS), *(f'"{name}"' for name in plan.uplinks))
    yield f"  interface {', '.join(links)};"
    yield "}"
    if any(neighbor.timers.bfd != "none" for neighbor in plan.neighbors):
        timing = f"interval {plan.bfd_interval_s * 1000:.0f} ms; multiplier {plan.bfd_multiplier};"
        yield "protocol bfd {"
        yield f'  interface "*" {{ {timing} }};'
        yield f"  multihop {{ {timing} }};"
        yield "}"
    for version in (4, 6):
        yield from _functions(plan, version)
        yield from _kernel(plan, version)
        yield from _services(plan, version)
    for neighbor in plan.neighbors:
        yield from _session(plan, neighbor, passwords)


def _functions(plan: Plan, version: int) -> Iterator[str]:
    """Yield what the filters of one family have in common."""
    blocks = [f"{pool}{{{size},{size}}}" for pool, size in plan.pools if pool.version == version]
    borrowed = _texts(plan.borrowed, version)
    yield f"function is_block{version}() {{"
    yield f"  return {_is_in(blocks)};"
    yield "}"
    yield f"function is_borrowed{version}() {{"
    yield f"  return {_is_in(borrowed)};"
    yield "}"
    # What lies below a block is never announced, save addresses that were borrowed from another node's.
    yield f"function is_own{version}() {{"
    yield "  if source = RTS_STATIC then return true;"
    yield f"  if source != RTS_INHERIT || krt_source != {ROUTE_PROTOCOL} then return false;"
    yield f"  return is_borrowed{version}() || (dest = RTD_BLACKHOLE && is_block{version}());"
    yield "}"
    yield f"function is_service{version}() {{"
    yield f"  return {_is_in([f'{item}+' for item in _texts(plan.ranges, version)])};"
    yield "}"
    pools = [f"{pool}+" for pool, _ in plan.pools if pool.version == version]
    yield f"function is_clusters{version}() {{"
    yield f"  return {_is_in(pools)}{f' || is_service{version}()' if plan.reflects else ''};"
    yield "}"
    yield f"function attach{version}() {{"
    for network, communities in plan.communities:
        if network.version == version:
            yield f"  if net ~ [ {network}+ ] then {{"
            yield from (f"    {_add(community)}" for community in communities)
            yield "  }"
    yield "}"


def _kernel(plan: Plan, version: int) -> Iterator[str]:
    yield f"protocol kernel {kernel_protocol(version)} {{"
    yield "  learn;"
    yield "  persist;"
    yield "  graceful restart;"
    yield f"  scan time {_SCAN_S};"
    yield f"  metric {METRICS[version]};"
    yield f"  merge paths on limit {MOST_PATHS};"
    yield f"  ipv{version} {{"
    yield "    import filter {"
    # Foreign routes, such as the default route, lead to next hops; what others announce never hides our own.
    yield f"      if krt_source != {ROUTE_PROTOCOL} then accept;"
    yield "      preference = 200;"
    yield f"      if is_own{version}() then accept;"
    yield "      reject;"
    yield "    };"
    yield "    export filter {"
    yield "      if source != RTS_BGP then reject;"
    # Each node has the services' addresses itself.
    yield f"      if is_service{version}() then reject;"
    address = plan.own.address(version)
    if plan.prefer_node_address and address is not None:
        yield f"      krt_prefsrc = {address};"
    yield "      accept;"
    yield "    };"
    yield "  };"
    yield "}"


def _services(plan: Plan, version: int) -> Iterator[str]:
    yield f"protocol static services{version} {{"
    yield f"  ipv{version};"
    for network in _texts(plan.services, version):
        yield f"  route {network} blackhole;"
    yield "}"


def _connect_delay_s(plan: Plan, timers: Timers) -> int:
    """Return how long a session that has ended waits before it connects.

    A restarted neighbour's BFD goes down when its old session times out, at the latest. Were it back by then,
    bird would take that for a second graceful restart, and drop what it kept for the first (proto/bgp/bgp.c,
    `bgp_bfd_notify`, `bgp_handle_graceful_restart`).
    """
    if timers.bfd != "graceful":
        return 1
    return math.ceil(plan.bfd_interval_s * plan.bfd_multiplier) + 2


def _session(plan: Plan, neighbor: Neighbor, passwords: Mapping[Path, str]) -> Iterator[str]:
    timers, version = neighbor.timers, neighbor.address.version
    local = f"{neighbor.local} " if neighbor.local else ""
    yield f"protocol bgp {neighbor.protocol} {{"
    yield f'  description "{neighbor.role} {neighbor.name}";'
    yield f"  local {local}port {plan.port} as {plan.own.as_number};"
    yield f"  neighbor {neighbor.address} port {neighbor.port} as {neighbor.as_number};"
    if neighbor.is_direct:
        yield "  direct;"
    elif neighbor.multihop:
        yield f"  multihop {neighbor.multihop};"
    if neighbor.is_passive:
        yield "  passive on;"
    if neighbor.ttl_security:
        yield "  ttl security on;"
    if timers.password_file is not None:
        yield f'  password "{passwords[timers.password_file]}";'
    yield f"  hold time {timers.hold_s:.0f};"
    if timers.keepalive_s:
        yield f"  keepalive time {timers.keepalive_s:.0f};"
    if timers.bfd != "none":
        yield f"  bfd {'on' if timers.bfd == 'strict' else 'graceful'};"
    if timers.graceful_restart_s:
        yield "  graceful restart on;"
        yield f"  graceful restart time {timers.graceful_restart_s:.0f};"
    # bird's own are made for the Internet: 5, 120 and 60 to 300 seconds.
    yield f"  connect delay time {_connect_delay_s(plan, timers)};"
    yield "  connect retry time 1;"
    yield "  error wait time 1, 30;"
    if neighbor.allow_local_as:
        yield f"  allow local as {neighbor.allow_local_as};"
    if neighbor.cluster_id is not None:
        yield "  rr client;"
        yield f"  rr cluster id {neighbor.cluster_id};"
    yield f"  ipv{version} {{"
    if neighbor.max_prefixes:
        yield f"    import limit {neighbor.max_prefixes} action restart;"
    if neighbor.keeps_next_hop:
        yield "    next hop keep;"
    yield f"    import filter {{ {_import(neighbor, version)} }};"
    yield "    export filter {"
    yield from (f"      {line}" for line in _export(neighbor, version))
    yield "    };"
    yield "  };"
    yield "}"


def _import(neighbor: Neighbor, version: int) -> str:
    if neighbor.role != "peer":
        return f"if is_clusters{version}() then accept; reject;"
    if not neighbor.import_only:
        return "accept;"
    networks = [network for network in neighbor.import_only if network.version == version]
    # Everything would need no list: the default route stands for itself.
    patterns = (f"{network}{'+' if network.prefixlen else ''}" for network in networks)
    return f"if {_is_in(patterns)} then accept; reject;"


def _export(neighbor: Neighbor, version: int) -> Iterator[str]:
    yield f"if is_own{version}() then {{"
    yield f"  attach{version}();"
    yield from (f"  {_add(community)}" for community in neighbor.communities)
    yield "  accept;"
    yield "}"
    if neighbor.announces_all:
        yield f"if source = RTS_BGP && is_clusters{version}() then accept;"
    yield "reject;"


def _add(community: Community) -> str:
    kind = "bgp_community" if len(community) == 2 else "bgp_large_community"
    return f"{kind}.add(({','.join(map(str, community))}));"


def _texts(networks: Iterable[Network], version: int) -> list[str]:
    return [str(network) for network in networks if network.version == version]


def _is_in(patterns: Iterable[str]) -> str:
    """Render the question whether a prefix matches one of these; bird has no empty set."""
    listed = ", ".join(patterns)
    return f"net ~ [ {listed} ]" if listed else "false"
