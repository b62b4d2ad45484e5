"""Cost of loading a cluster's virtual services into IPVS, and of reading them back, in a guest that has it.

Ours: from the desired state as bytes to the kernel, in batches of netlink messages; and the other way, as a
restart does. Peers, in the same guest and the same run: `ipvsadm -R` fed with the same services as text, and
pyroute2 one by one; they get fewer, and their time is multiplied, since for both it grows with the number.
The addresses of the link are a figure of their own: each new one makes the kernel look at all there are.
"""

import argparse
import os
import subprocess
import sys
import time
from ipaddress import ip_address
from pathlib import Path

from bench.figure import median, report
from kubeproxy.ipvs.address_link import AddressLink
from kubeproxy.ipvs.balancer import Balancer
from kubeproxy.ipvs.layout import LINK_ADDRESSES, VIRTUAL_SERVICES, encode_service
from kubeproxy.rules.layout import encode_frontend
from nodeplane.datapath import netns
from nodeplane.datapath.ipvs.service import ServiceOptions
from nodeplane.datapath.ipvs.table import KernelIpvs
from nodeplane.datapath.nft.table import ElementChange
from nodeplane.datapath.rtnl import Rtnl, open_rtnl

_ENDPOINTS = 4
_FIRST_VIP, _FIRST_POD = 0x0A600001, 0x0AF40001
_PORT, _TARGET = 80, 8080
_MEMORY_MIB = 1500
_LOADS = 3


def build_services(number: int) -> dict[bytes, bytes]:
    """Return so many virtual services with four real servers each, as desired state has them."""
    services = {}
    for place in range(number):
        servers = [
            ((_FIRST_POD + _ENDPOINTS * place + each).to_bytes(4, "big") + _TARGET.to_bytes(2, "big"), 1)
            for each in range(_ENDPOINTS)
        ]
        key = encode_frontend((_FIRST_VIP + place).to_bytes(4, "big"), "TCP", _PORT)
        services[key] = encode_service(ServiceOptions("rr"), servers)
    return services


def measure_ours(number: int) -> tuple[float, float, float]:
    """Return the seconds to load virtual services, to read them back, and to add their addresses.

    Each is the median of several loads, each in a namespace of its own: the kernel keeps real servers that
    were deleted for two minutes, and walks all of them for each new one (ip_vs_trash_get_dest).
    """
    services = build_services(number)
    with open_rtnl() as rtnl:
        # The first one makes the kernel load its scheduler's module, which is nobody's cost here.
        _measure_load(build_services(1), rtnl)
    loads, reads, addresses = zip(*(_measure_apart(services) for _ in range(_LOADS)), strict=True)
    return median(loads), median(reads), median(addresses)


def _measure_apart(services: dict[bytes, bytes]) -> tuple[float, float, float]:
    name = f"npb-{os.getpid()}-ipvs"
    path = netns.create(name)
    try:
        with netns.inside(path), open_rtnl() as rtnl:
            # Without any local address IPVS takes no real servers (EINVAL).
            rtnl.set_up("lo")
            return _measure_load(services, rtnl)
    finally:
        netns.remove(name)


def _measure_load(services: dict[bytes, bytes], rtnl: Rtnl) -> tuple[float, float, float]:
    addresses = {key[:4]: b"" for key in services}
    with KernelIpvs() as ipvs:
        link = AddressLink("ip", rtnl)
        balancer = Balancer("ip", ipvs, link)
        started = time.perf_counter()
        assert not balancer.bring(balancer.plan({VIRTUAL_SERVICES: ElementChange(add=services)}))
        loaded = time.perf_counter()
        assert balancer.read()[VIRTUAL_SERVICES] == services
        read = time.perf_counter()
        change = balancer.plan({LINK_ADDRESSES: ElementChange(add=addresses)})
        assert not balancer.bring_addresses(change)
        addressed = time.perf_counter()
        balancer.delete_all()
        link.delete()
    return loaded - started, read - loaded, addressed - read


def measure_ipvsadm(number: int) -> float:
    """Return the seconds that `ipvsadm -R` takes."""
    lines = []
    for place in range(number):
        service = f"-t {ip_address(_FIRST_VIP + place)}:{_PORT}"
        lines.append(f"-A {service} -s rr")
        first = _FIRST_POD + _ENDPOINTS * place
        lines += [
            f"-a {service} -r {ip_address(first + each)}:{_TARGET} -m -w 1" for each in range(_ENDPOINTS)
        ]
    text = "\n".join(lines) + "\n"
    started = time.perf_counter()
    subprocess.run(["ipvsadm", "-R"], input=text, text=True, check=True)
    seconds = time.perf_counter() - started
    subprocess.run(["ipvsadm", "-C"], check=True)
    return seconds


def measure_pyroute2(number: int) -> float:
    """Return the seconds that pyroute2 takes, its import apart."""
    from pyroute2 import IPVS, IPVSDest, IPVSService

    with IPVS() as ipvs:
        started = time.perf_counter()
        for place in range(number):
            service = IPVSService(
                addr=str(ip_address(_FIRST_VIP + place)), port=_PORT, protocol=6, sched_name="rr"
            )
            ipvs.service("add", service=service)
            first = _FIRST_POD + _ENDPOINTS * place
            for each in range(_ENDPOINTS):
                dest = IPVSDest(addr=str(ip_address(first + each)), port=_TARGET, fwd_method=0)
                ipvs.dest("add", service=service, dest=dest)
        seconds = time.perf_counter() - started
    subprocess.run(["ipvsadm", "-C"], check=True)
    return seconds


def measure(number: int, to_ipvsadm: int, to_pyroute2: int) -> None:
    """Measure all and print the figures."""
    load_s, read_s, addresses_s = measure_ours(number)
    name = f"{number}x{_ENDPOINTS}"
    report(
        f"kubeproxy_ipvs_load_{name}",
        "s",
        load_s,
        peer=measure_ipvsadm(to_ipvsadm) * number / to_ipvsadm,
        peer_name=f"ipvsadm -R, from {to_ipvsadm} services",
        goal="ours <= 5",
    )
    report(
        f"kubeproxy_ipvs_load_{name}",
        "s",
        load_s,
        peer=measure_pyroute2(to_pyroute2) * number / to_pyroute2,
        peer_name=f"pyroute2 one by one, from {to_pyroute2} services",
    )
    report(f"kubeproxy_ipvs_read_{name}", "s", read_s)
    report(f"kubeproxy_ipvs_addresses_{number}", "s", addresses_s)


def main() -> None:
    """Start the guest, or measure inside of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few services")
    parser.add_argument("--inside", action="store_true", help="this is the guest")
    options = parser.parse_args()
    if options.inside:
        measure(*((300, 50, 5) if options.quick else (10_000, 500, 50)))
        return
    program = Path(sys.executable).with_name("netns-lab")
    guest = ["vm", "--memory", str(_MEMORY_MIB), "--module", "ip_vs", "--module", "dummy", "--"]
    words = [sys.executable, __file__, "--inside", *(["--quick"] if options.quick else [])]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([str(program), *guest, *words], env=environment, stdin=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    main()
