"""kube-proxy's nftables layout, the peer: a chain and a map for each service, written by `nft -f -`."""

import subprocess
import time
from ipaddress import IPv4Address

from bench.cluster_objects import ENDPOINTS, cluster_ip


def peer_chain(number: int, count: int) -> str:
    """Return the commands that fill one service's chain, as kube-proxy writes them."""
    first = IPv4Address("10.128.0.0") + number * 8
    targets = ", ".join(f"{index} : {first + index} . 8080" for index in range(count))
    chain = f"service-{number:08X}-bench/service-{number}/tcp/http"
    match = f"meta l4proto tcp dnat ip addr . port to numgen random mod {count}"
    return f"add rule ip peer {chain} {match} map {{ {targets} }}\n"


def measure_peer(services: int) -> tuple[float, list[float]]:
    """Return seconds of a full load and of each change through `nft -f -`."""
    text = [
        "add table ip peer\n",
        "add map ip peer service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }\n",
        "add chain ip peer services\n",
        "add chain ip peer nat-prerouting { type nat hook prerouting priority -100 ; }\n",
        "add rule ip peer nat-prerouting jump services\n",
        "add rule ip peer services ip daddr . meta l4proto . th dport vmap @service-ips\n",
    ]
    for number in range(services):
        chain = f"service-{number:08X}-bench/service-{number}/tcp/http"
        text.append(f"add chain ip peer {chain}\n")
        text.append(peer_chain(number, ENDPOINTS))
        address = cluster_ip(number)
        text.append(f"add element ip peer service-ips {{ {address} . tcp . 80 : goto {chain} }}\n")
    load = _nft("".join(text))
    changes = []
    for number in range(5):
        victim = number * 7919 % services
        chain = f"service-{victim:08X}-bench/service-{victim}/tcp/http"
        changes.append(_nft(f"flush chain ip peer {chain}\n" + peer_chain(victim, ENDPOINTS + 1)))
    return load, changes


def _nft(commands: str) -> float:
    started = time.perf_counter()
    subprocess.run(["nft", "-f", "-"], input=commands, text=True, check=True, capture_output=True)
    return time.perf_counter() - started
