"""What is wrong with a lab's links, brought into the kernel: by nft(8), token buckets and, for delays, tc(8).

What a namespace has is recorded before it is made, so a killed command's is found and removed by the next.
"""

import json
import subprocess
from collections.abc import Callable, Mapping

from netns_lab.impairments.rules import (
    TABLE,
    Impairment,
    expected_chains,
    render_removal,
    render_rules,
)
from netns_lab.netlink import open_whole_rtnl
from netns_lab.quantities import parse_rate
from netns_lab.state import StateDirectory
from netns_lab.topology import LinkSpec
from nodeplane.datapath import netns
from nodeplane.datapath.shaping import Bucket, Shaper, build_bucket, open_shaper
from nodeplane.errors import KernelNotFoundError, NodeplaneError, SetupError

RECORDS = "impairments"

# A router's usual buffer for a slow link; more would be delay, and none loses every second packet.
_QUEUE_MS = 50
_BURST_S = 0.01

Report = Callable[[str, object], None]


def sync_impairments(state: StateDirectory, desired: Mapping[str, Impairment], report: Report) -> None:
    """Make what is wrong be what is desired, by namespace, and nothing else.

    Raises:
        NodeplaneError: the kernel refused.
    """
    for record in sorted(state.records(RECORDS)):
        namespace = record.removeprefix(f"{RECORDS}/")
        if namespace not in desired:
            _clear(namespace, state.load_record(record, Impairment) or Impairment())
            state.drop_record(record)
            report("removed", f"impairments in {namespace}")
    for namespace, impairment in desired.items():
        name = f"{RECORDS}/{namespace}"
        had = state.load_record(name, Impairment)
        if had == impairment and is_there(namespace, impairment):
            continue
        # Both, until it is done: whoever clears up after a killed command finds every link.
        links = {**(had.links if had else {}), **impairment.links}
        state.save_record(name, Impairment(links, impairment.cuts))
        _make(namespace, impairment, had or Impairment())
        state.save_record(name, impairment)
        report("made", f"impairments in {namespace}")


def is_there(namespace: str, impairment: Impairment) -> bool:
    """Say whether a namespace has an impairment whole."""
    path = netns.NETNS_DIR / namespace
    if not netns.is_namespace(path):
        return False
    with netns.inside(path):
        done = _run(("nft", "-j", "list", "table", "netdev", TABLE))
        if done.returncode != 0:
            return False
        chains = {entry["chain"]["name"] for entry in json.loads(done.stdout)["nftables"] if "chain" in entry}
        if chains != expected_chains(impairment):
            return False
        with open_shaper() as shaper:
            return all(
                _is_shaped(shaper, name, link, _mtu(namespace, name))
                for name, link in impairment.links.items()
            )


def need_netem(lab: str) -> None:
    """Make sure that the kernel can delay packets.

    Raises:
        SetupError: it can't.
    """
    name = f"nl-{lab}-netem"
    netns.remove(name)
    path = netns.create(name)
    try:
        with netns.inside(path):
            done = _run(("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"))
    finally:
        netns.remove(name)
    if done.returncode != 0:
        raise SetupError(
            "delay: this kernel has no netem, `netns-lab vm` starts one that has: "
            + done.stderr.decode(errors="replace").strip()
        )


def _make(namespace: str, impairment: Impairment, had: Impairment) -> None:
    with netns.inside(netns.NETNS_DIR / namespace):
        _must(("nft", "-f", "-"), render_rules(impairment))
        with open_shaper() as shaper:
            for name, link in {**had.links, **impairment.links}.items():
                wanted = impairment.links.get(name, LinkSpec())
                if had.links.get(name, link).delay and not wanted.delay:
                    _run(("tc", "qdisc", "del", "dev", name, "root"))
                if wanted.delay:
                    rate = ("rate", wanted.rate) if wanted.rate else ()
                    jitter = (wanted.jitter,) if wanted.jitter else ()
                    # The kernel's own 1000 packets are a second of 12 Mbit/s.
                    way = ("netem", "limit", "100000", "delay", wanted.delay, *jitter, *rate)
                    _must(("tc", "qdisc", "replace", "dev", name, "root", *way))
                elif wanted.rate:
                    shaper.limit(name, _bucket(wanted, _mtu(namespace, name)))
                else:
                    _unlimit(shaper, name)


def _clear(namespace: str, had: Impairment) -> None:
    path = netns.NETNS_DIR / namespace
    if not netns.is_namespace(path):
        return
    with netns.inside(path):
        _must(("nft", "-f", "-"), render_removal())
        with open_shaper() as shaper:
            for name, link in had.links.items():
                if link.delay:
                    _run(("tc", "qdisc", "del", "dev", name, "root"))
                else:
                    _unlimit(shaper, name)


def _unlimit(shaper: Shaper, name: str) -> None:
    try:
        shaper.unlimit(name)
    except KernelNotFoundError:
        return  # a pod's link that has gone with its pod


def _is_shaped(shaper: Shaper, name: str, link: LinkSpec, mtu_bytes: int) -> bool:
    if link.delay:
        shown = _run(("tc", "-j", "qdisc", "show", "dev", name))
        return shown.returncode == 0 and b'"netem"' in shown.stdout
    wanted = _bucket(link, mtu_bytes) if link.rate else None
    return shaper.read(name).bucket == wanted


def _bucket(link: LinkSpec, mtu_bytes: int) -> Bucket:
    rate_bits = parse_rate(link.rate)
    # Room for two whole frames: a bucket that is smaller than a packet never lets it through.
    return build_bucket(rate_bits, max(round(rate_bits / 8 * _BURST_S), 2 * (mtu_bytes + 14)), _QUEUE_MS)


def _mtu(namespace: str, name: str) -> int:
    with open_whole_rtnl(netns.NETNS_DIR / namespace) as rtnl:
        link = rtnl.find_link(name)
    return link.mtu_bytes if link is not None else 1500


def _must(command: tuple[str, ...], text: str = "") -> None:
    done = _run(command, text)
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise NodeplaneError(f"{command[0]}: {reason}")


def _run(command: tuple[str, ...], text: str = "") -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(command, input=text.encode(), capture_output=True, check=False)
    except FileNotFoundError as exc:
        raise SetupError(f"{command[0]} is missing: install the Debian package nftables or iproute2") from exc
