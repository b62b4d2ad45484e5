"""What a lab needs of a machine, and what is needed for some of its verbs only."""

import msgspec

from netns_lab.tools import Tool


class Need(msgspec.Struct, frozen=True):
    """A program and what it is for; without `reason` no lab works."""

    tool: Tool
    reason: str = ""


class Feature(msgspec.Struct, frozen=True):
    """Something of the kernel's: a command that works in a new namespace if it is there."""

    name: str
    command: tuple[str, ...]
    reason: str = ""


NEEDS = (
    Need(Tool("nft", "nftables")),
    Need(Tool("ip", "iproute2")),
    Need(Tool("tc", "iproute2"), "rates and delays of links"),
    Need(Tool("unshare", "util-linux")),
    Need(Tool("mount", "mount")),
    Need(Tool("tcpdump", "tcpdump"), "demo, capture, trace, ui"),
    Need(Tool("setpriv", "util-linux"), "demo, capture, trace, ui"),
    Need(Tool("curl", "curl"), "curl"),
    Need(Tool("kubectl", "kubernetes-client"), "kubectl"),
    Need(Tool("bird", "bird2"), "routers with `asn`, mode bgp"),
    Need(Tool("faketime", "faketime"), "fault clock"),
    Need(Tool("qemu-system-x86_64", "qemu-system-x86"), "vm"),
    Need(Tool("busybox", "busybox-static"), "vm"),
    Need(Tool("modprobe", "kmod"), "vm"),
    Need(Tool("apt-get", "apt"), "vm, to fetch its kernel"),
)


def _link(kind: str, *words: str) -> tuple[str, ...]:
    return ("ip", "link", "add", "doctor", "type", kind, *words)


FEATURES = (
    Feature("nf_tables", ("nft", "add", "table", "inet", "doctor")),
    Feature("NAT", ("nft", "add table ip d; add chain ip d c { type nat hook postrouting priority 0; }")),
    Feature("veth", _link("veth", "peer", "name", "peer")),
    Feature("bridge", _link("bridge")),
    Feature("VXLAN", _link("vxlan", "id", "1", "dstport", "4789"), "modes vxlan and cross-subnet"),
    Feature(
        "tbf",
        (
            "tc",
            "qdisc",
            "add",
            "dev",
            "lo",
            "root",
            "tbf",
            *["rate", "1mbit", "burst", "9k", "latency", "9ms"],
        ),
        "rates of links",
    ),
    Feature("netem", ("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"), "delays of links"),
    Feature("dummy", _link("dummy"), "proxyMode ipvs"),
    Feature("IPVS", ("test", "-e", "/proc/net/ip_vs"), "proxyMode ipvs"),
)

MODULES = {
    "yaml": ("nodeplane", ""),
    "nftables": ("python3-nftables", "faster and fuller reading of rules"),
    "starlette": ("nodeplane[lab]", ""),
    "uvicorn": ("nodeplane[lab]", ""),
    "cryptography": ("nodeplane[lab]", ""),
    "scapy": ("nodeplane[lab]", "demo and trace"),
}
"""Python modules: the package that brings each, and what it is for."""
