"""What one change costs: few elements, whatever else there is (law 5)."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeproxy.desired.desired_elements import DesiredElements
from kubeproxy.desired.element_store import ElementKey
from kubeproxy.desired.endpoints import Usable
from kubeproxy.desired.pools import PoolNumbers
from kubeproxy.desired.service_port import PortName, Publication, ServicePort
from kubeproxy.rules.addresses import pack_address
from kubeproxy.rules.layout import FRONTENDS, NODE_PORT_IPS, SERVICE_CIDRS, encode_frontend
from kubeproxy.rules.pool_value import Kind
from nodeplane.datapath.nft.table import ElementChange
from tests.kubeproxy.objects import at

ENDPOINTS = [at(f"10.{number >> 8}.{number & 255}.1") for number in range(5100)]
VIP = encode_frontend(pack_address("10.96.0.1"), "TCP", 80)


def port(
    *endpoints: bytes, name: str = "web", key: bytes = VIP, timeout_s: int = 0, here: bool = False
) -> ServicePort:
    """Build a port with these endpoints, `here` with policy Local and all of them on this node."""
    kind = Kind.EXTERNAL_LOCAL if here else Kind.CLUSTER_IP
    return ServicePort(
        PortName("default", name, "http", "TCP"),
        (Publication("frontends", key, kind),),
        Usable(tuple(sorted(endpoints)), tuple(sorted(endpoints)) if here else ()),
        affinity_timeout_s=timeout_s,
    )


def put(desired: DesiredElements, item: ServicePort) -> None:
    desired.set_services({(item.name.namespace, item.name.service): [item]})


def cost(changes: Mapping[str, ElementChange]) -> int:
    return sum(len(change.remove) + len(change.add) for change in changes.values())


def others(number: int) -> DesiredElements:
    desired = DesiredElements()
    for index in range(number):
        key = encode_frontend(bytes((10, 97, index >> 8, index & 255)), "TCP", 80)
        put(desired, port(*ENDPOINTS[:4], name=f"other-{index}", key=key))
    return desired


SHAPES = st.tuples(st.sampled_from([0, 1, 2, 3, 16, 17]), st.sampled_from([0, 10]), st.booleans())
WANTED = st.dictionaries(st.sampled_from("abcdef"), SHAPES)


@given(st.lists(WANTED, min_size=2, max_size=6))
@settings(deadline=None)
def test_path_does_not_matter(path: list[dict[str, tuple[int, int, bool]]]) -> None:
    """With sixteen numbers for twelve pools all push one another about, and nothing of it stays (law 1)."""
    desired, fresh = DesiredElements(PoolNumbers(4, 4)), DesiredElements(PoolNumbers(4, 4))
    kernel: dict[str, dict[bytes, bytes]] = {name: {} for name in desired.elements}
    for number, wanted in enumerate([*path, path[-1]]):
        into = fresh if number == len(path) else desired
        for name in "abcdef" if into is desired else "fedcba":
            count, timeout_s, here = wanted.get(name, (0, 0, False))
            key = encode_frontend(bytes((10, 96, 0, ord(name))), "TCP", 80)
            item = port(*ENDPOINTS[:count], name=name, key=key, timeout_s=timeout_s, here=here)
            into.set_services({("default", name): [item] if name in wanted else []})
        for map_name, change in desired.take_changes().items():
            for gone in change.remove:
                del kernel[map_name][gone]
            assert not kernel[map_name].keys() & change.add.keys()
            kernel[map_name].update(change.add)

    assert kernel == desired.elements == fresh.elements


@pytest.mark.parametrize("services", [0, 2000])
@pytest.mark.parametrize(
    ("before", "after", "timeout_s", "most"),
    [
        # A small pool of another size is another value: its frontend and all its slots go and come.
        pytest.param(15, 16, 0, 15 + 16 + 2, id="16th endpoint"),
        pytest.param(16, 15, 0, 15 + 16 + 2, id="16th endpoint goes"),
        pytest.param(2, 3, 0, 2 + 3 + 2, id="third endpoint"),
        # Six maps instead of two, but the members that stay are not written.
        pytest.param(13, 14, 10, 2 * 2, id="affinity, 14 of 16"),
        pytest.param(12, 13, 10, 13 + 14 + 2 + 2 + 2, id="affinity, to another size"),
    ],
)
def test_small_pools(services: int, before: int, after: int, timeout_s: int, most: int) -> None:
    """The cost of a change to a small pool depends on its endpoints, not on other services."""
    desired = others(services)
    put(desired, port(*ENDPOINTS[:before], timeout_s=timeout_s))
    desired.take_changes()
    put(desired, port(*ENDPOINTS[:after], timeout_s=timeout_s))

    assert cost(desired.take_changes()) <= most


@pytest.mark.parametrize(("timeout_s", "on_average", "most"), [(0, 20, 200), (10, 30, 300)])
def test_large_pool(timeout_s: int, on_average: int, most: int) -> None:
    """One endpoint more or less of 5,000: few of the 6,144 slots change, and no frontend."""
    desired = others(100)
    endpoints = ENDPOINTS[:5000]
    put(desired, port(*endpoints, timeout_s=timeout_s))
    desired.take_changes()
    costs = []
    for number in range(40):
        endpoints = endpoints[1:] if number % 2 else [*endpoints, ENDPOINTS[5000 + number]]
        put(desired, port(*endpoints, timeout_s=timeout_s))
        changes = desired.take_changes()
        assert FRONTENDS not in changes
        costs.append(cost(changes))

    assert sum(costs) / len(costs) <= on_average
    assert max(costs) <= most


def test_nothing_changed() -> None:
    """The same service again, or one that is gone already, changes nothing."""
    desired = others(2)
    put(desired, port(*ENDPOINTS[:3]))
    desired.take_changes()
    put(desired, port(*ENDPOINTS[:3]))
    desired.set_services({("default", "nobody"): []})

    assert desired.take_changes() == {}


def test_renamed() -> None:
    """A service of another name has a pool of its own: frontend and slots change hands in one batch."""
    desired = DesiredElements()
    put(desired, port(*ENDPOINTS[:3], name="old"))
    desired.take_changes()
    desired.set_services({("default", "old"): []})
    put(desired, port(*ENDPOINTS[:3], name="new"))

    assert {name: (len(each.remove), len(each.add)) for name, each in desired.take_changes().items()} == {
        "frontends": (1, 1),
        "slots": (3, 3),
    }


def test_gone_without_trace() -> None:
    """When all services are gone nothing is left, in memory neither."""
    desired = others(0)
    for item in (port(*ENDPOINTS[:20]), port(*ENDPOINTS[:20], timeout_s=5), port(*ENDPOINTS[:20], here=True)):
        put(desired, item)
    desired.set_services({("default", "web"): []})

    assert not any(desired.elements.values())
    assert desired.ports == {}
    assert cost(desired.take_changes()) == 0
    assert not any((desired._contents, desired._slots, desired._book.names(("default", "web"))))


def test_own_sets() -> None:
    """Sets that no service claims are put in place of what they were."""
    desired = DesiredElements()
    desired.set_node_port_ips([b"aaaa", b"bbbb"])
    desired.take_changes()
    desired.set_node_port_ips([b"bbbb", b"cccc"])
    desired.set_service_cidrs([])

    assert desired.take_changes() == {NODE_PORT_IPS: ElementChange([b"aaaa"], {b"cccc": b""})}
    assert desired.elements[SERVICE_CIDRS] == {}


def test_conflict_of_keys() -> None:
    """One frontend of two services: the element of the first by name, as an element of the store."""
    desired = DesiredElements()
    put(desired, port(name="b"))
    put(desired, port(ENDPOINTS[0], name="a"))
    element: ElementKey = (FRONTENDS, VIP)

    assert list(desired.elements[FRONTENDS]) == [element[1]]
    assert list(desired.elements["slots"].values()) == [ENDPOINTS[0]]
