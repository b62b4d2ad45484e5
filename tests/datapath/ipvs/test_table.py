"""One contract for the kernel's IPVS and for the fake, and two other readers of what we write."""

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from nodeplane.datapath import netns
from nodeplane.datapath.ipvs import listing
from nodeplane.datapath.ipvs.fake import FakeIpvs
from nodeplane.datapath.ipvs.service import (
    WHOLE_ADDRESS,
    Change,
    DeleteServer,
    DeleteService,
    Method,
    NewServer,
    NewServers,
    NewService,
    RealServer,
    ServerKey,
    ServerUse,
    ServiceFlags,
    ServiceKey,
    ServiceOptions,
    SetServer,
    SetService,
    Timeouts,
    pack_server,
)
from nodeplane.datapath.ipvs.table import Ipvs, KernelIpvs
from tests.netns_fixture import namespace, run_in

WEB = ServiceKey("ip", 6, ip_address("10.96.0.1").packed, 80)
DNS = ServiceKey("ip6", 17, ip_address("fd00:96::1").packed, 53)
GAME = ServiceKey("ip", 132, ip_address("10.96.0.2").packed, 3868)
MARKED = ServiceKey("ip6", mark=0x6E400007)
KEYS = (WEB, DNS, GAME, MARKED)
RR = ServiceOptions("rr")
RR_6 = ServiceOptions("rr", netmask=WHOLE_ADDRESS["ip6"])
STICKY = ServiceOptions("wrr", ServiceFlags.PERSISTENT, 10800)
MAGLEV = ServiceOptions("mh", ServiceFlags.BY_PORT)
POD, MATE = (ServerKey(ip_address(text).packed, 8080) for text in ("10.244.1.2", "10.244.1.3"))
POD_6 = ServerKey(ip_address("fd00:244::2").packed, 8053)
THREE, IDLE = RealServer(3), RealServer(0)


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelIpvs]:
    with namespace() as ns, netns.inside(ns), KernelIpvs() as opened:
        yield opened


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.ipvs)])
def ipvs(request: pytest.FixtureRequest) -> Iterator[Ipvs]:
    if request.param == "fake":
        yield FakeIpvs()
        return
    opened = request.getfixturevalue("kernel")
    yield opened
    opened.apply([DeleteService(key) for key in opened.services()])


def held(ipvs: Ipvs) -> dict[ServiceKey, tuple[ServiceOptions, dict[ServerKey, RealServer]]]:
    one_by_one = {key: ipvs.servers(key) for key in ipvs.services()}
    at_once = ipvs.all_servers("ip") | ipvs.all_servers("ip6")
    # A mark's without real servers may be missing.
    assert {key: at_once.get(key, {}) for key in one_by_one} == one_by_one
    assert at_once.keys() <= one_by_one.keys()
    assert {each for each in one_by_one if not each.mark} <= at_once.keys()
    return {
        key: (options, {server: use.server for server, use in one_by_one[key].items()})
        for key, options in ipvs.services().items()
    }


WITH_POD: list[Change] = [NewService(WEB, RR), NewServer(WEB, POD, THREE)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param([], {}, id="nothing"),
        pytest.param([NewService(WEB, RR)], {WEB: (RR, {})}, id="a service"),
        pytest.param(
            [
                NewService(WEB, STICKY),
                NewService(DNS, RR_6),
                NewService(GAME, MAGLEV),
                NewService(MARKED, RR_6),
            ],
            {WEB: (STICKY, {}), DNS: (RR_6, {}), GAME: (MAGLEV, {}), MARKED: (RR_6, {})},
            id="all kinds",
        ),
        pytest.param(WITH_POD, {WEB: (RR, {POD: THREE})}, id="a real server"),
        pytest.param(
            [NewService(WEB, RR), NewServers(WEB, (pack_server(POD, 3), pack_server(MATE, 0)))],
            {WEB: (RR, {POD: THREE, MATE: IDLE})},
            id="several real servers",
        ),
        pytest.param(
            [NewService(MARKED, RR_6), NewServer(MARKED, POD_6, THREE)],
            {MARKED: (RR_6, {POD_6: THREE})},
            id="a real server of a mark",
        ),
        pytest.param(
            [*WITH_POD, NewServer(WEB, MATE, RealServer(1, Method.ROUTE)), SetServer(WEB, POD, IDLE)],
            {WEB: (RR, {POD: IDLE, MATE: RealServer(1, Method.ROUTE)})},
            id="another weight, another method",
        ),
        pytest.param([*WITH_POD, SetService(WEB, STICKY)], {WEB: (STICKY, {POD: THREE})}, id="other options"),
        pytest.param(
            [NewService(WEB, STICKY), SetService(WEB, RR)], {WEB: (RR, {})}, id="clients are forgotten"
        ),
        pytest.param([*WITH_POD, DeleteServer(WEB, POD)], {WEB: (RR, {})}, id="a real server goes"),
        pytest.param(
            [*WITH_POD, DeleteServer(WEB, POD), NewServer(WEB, POD, IDLE)],
            {WEB: (RR, {POD: IDLE})},
            id="and comes back",
        ),
        pytest.param([*WITH_POD, DeleteService(WEB)], {}, id="a service goes with its real servers"),
    ],
)
def test_apply(
    ipvs: Ipvs,
    changes: list[Change],
    expected: dict[ServiceKey, tuple[ServiceOptions, dict[ServerKey, RealServer]]],
) -> None:
    assert ipvs.apply(changes) == {}
    assert held(ipvs) == expected
    assert {key: ipvs.find(key) for key in KEYS} == {
        key: expected[key][0] if key in expected else None for key in KEYS
    }


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        pytest.param(NewService(WEB, RR), "EEXIST", id="a service twice"),
        pytest.param(NewService(DNS, ServiceOptions("npt-none")), "ENOENT", id="no such scheduler"),
        pytest.param(SetService(DNS, RR_6), "ESRCH", id="set a service that is not there"),
        pytest.param(SetService(WEB, ServiceOptions("npt-none")), "ENOENT", id="set to no such scheduler"),
        pytest.param(DeleteService(MARKED), "ESRCH", id="delete a service that is not there"),
        pytest.param(NewServer(WEB, POD, THREE), "EEXIST", id="a real server twice"),
        pytest.param(NewServer(DNS, POD_6, THREE), "ESRCH", id="a real server of no service"),
        pytest.param(NewServers(WEB, (pack_server(POD, 3),)), "EEXIST", id="several, one of them twice"),
        pytest.param(SetServer(WEB, MATE, THREE), "ENOENT", id="set a real server that is not there"),
        pytest.param(DeleteServer(WEB, MATE), "ENOENT", id="delete a real server that is not there"),
    ],
)
def test_refusals(ipvs: Ipvs, change: Change, refusal: str) -> None:
    """What is refused changes nothing and does not stop what comes behind it."""
    assert ipvs.apply(WITH_POD) == {}
    refused = ipvs.apply([change, NewService(GAME, RR)])

    assert [*refused] == [0]
    assert str(refused[0]).endswith(f"({refusal})")
    assert held(ipvs) == {WEB: (RR, {POD: THREE}), GAME: (RR, {})}


def test_many(ipvs: Ipvs) -> None:
    """More than one send takes; refusals are named by their place among all."""
    servers = [ServerKey(ip_address(0x0AF40000 + number).packed, 80) for number in range(1, 2501)]
    changes: list[Change] = [NewService(WEB, RR), *(NewServer(WEB, server, THREE) for server in servers)]
    changes[1200:1200] = [DeleteService(GAME)]
    changes.append(DeleteService(GAME))

    changes.append(
        NewServers(WEB, tuple(pack_server(ServerKey(each.address, 81), 1) for each in servers[:999]))
    )

    assert [*ipvs.apply(changes)] == [1200, 2502]
    assert len(ipvs.servers(WEB)) == 3499
    assert ipvs.all_servers("ip") == {WEB: ipvs.servers(WEB)}


def test_one_mark_of_both_families(ipvs: Ipvs) -> None:
    """The kernel tells them apart, its list does not: their real servers do."""
    other = ServiceKey("ip", mark=MARKED.mark)
    changes: list[Change] = [NewService(MARKED, RR_6), NewServer(MARKED, POD_6, THREE)]
    assert ipvs.apply([*changes, NewService(other, RR), NewServer(other, POD, IDLE)]) == {}

    assert ipvs.all_servers("ip") == {other: {POD: ServerUse(IDLE)}}
    assert ipvs.all_servers("ip6") == {MARKED: {POD_6: ServerUse(THREE)}}


@pytest.mark.ipvs
def test_without_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no /proc, each virtual service is asked for; the list is of the opener's namespace."""
    with namespace() as ns, namespace() as elsewhere, netns.inside(ns), KernelIpvs() as kernel:
        kernel.apply([*WITH_POD, NewService(DNS, RR_6)])
        with netns.inside(elsewhere):
            listed = kernel.all_servers("ip")
        monkeypatch.setattr(listing, "_FILE", Path("/proc/none"))
        with KernelIpvs() as other:
            assert other.all_servers("ip") == listed == {WEB: {POD: ServerUse(THREE)}}


def test_timeouts(ipvs: Ipvs) -> None:
    before = ipvs.timeouts()
    ipvs.set_timeouts(Timeouts(77, 0, 66))

    assert before == Timeouts(900, 120, 300)
    assert ipvs.timeouts() == Timeouts(77, 120, 66)


@pytest.mark.ipvs
def test_ipvsadm_and_pyroute2_agree() -> None:
    """Two readers that are not ours find what was written."""
    from pyroute2 import IPVS, IPVSDest, IPVSService

    with namespace() as ns, netns.inside(ns):
        with KernelIpvs() as kernel:
            kernel.apply(
                [
                    NewService(WEB, STICKY),
                    NewServer(WEB, POD, THREE),
                    NewService(GAME, MAGLEV),
                    NewService(DNS, RR_6),
                    NewServer(DNS, POD_6, IDLE),
                    NewService(MARKED, RR_6),
                ]
            )
            at_once = kernel.all_servers("ip") | kernel.all_servers("ip6")
        saved = run_in(ns, "ipvsadm", "-Sn")
        with IPVS() as other:
            services = [IPVSService.from_message(each) for each in other.service("dump")]
            web = next(each for each in services if each.get("addr") == "10.96.0.1")
            (pod,) = [IPVSDest.from_message(each) for each in other.dest("dump", web)]
    seen = {(each["protocol"], each["addr"], each["port"]) for each in services if "addr" in each}

    assert at_once == {
        WEB: {POD: ServerUse(THREE)},
        GAME: {},
        DNS: {POD_6: ServerUse(IDLE)},
    }
    assert sorted(saved.stdout.splitlines()) == sorted(
        [
            "-A -t 10.96.0.1:80 -s wrr -p 10800",
            "-a -t 10.96.0.1:80 -r 10.244.1.2:8080 -m -w 3",
            "-A --sctp-service 10.96.0.2:3868 -s mh -b mh-port",
            "-A -u [fd00:96::1]:53 -s rr",
            "-a -u [fd00:96::1]:53 -r [fd00:244::2]:8053 -m -w 0",
            "-A -f 1849688071 -6 -s rr",
        ]
    )
    assert seen == {(6, "10.96.0.1", 80), (132, "10.96.0.2", 3868), (17, "fd00:96::1", 53)}
    assert (pod["addr"], pod["port"], pod["weight"]) == ("10.244.1.2", 8080, 3)
