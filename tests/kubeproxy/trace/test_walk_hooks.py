"""From hook to hook: translation, routes, masquerade, and the steps that are told."""

from fractions import Fraction
from ipaddress import ip_address

import pytest

from kubeproxy.trace.packet import Packet
from kubeproxy.trace.result import Outcome, Step
from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft.listing import ListedChain
from tests.kubeproxy.trace.walked import (
    ADDRESS,
    CLIENT,
    DROP,
    FORWARD,
    INPUT,
    LEAVES_BY_PODS,
    MASQUERADE,
    OUTPUT,
    OWN,
    PACKET,
    POD,
    POOL,
    POSTROUTING,
    PREROUTING,
    SERVICE,
    SET,
    TO_FOUND,
    TO_HOST,
    TO_POD,
    TRANSLATED,
    chain,
    walk,
)


@pytest.mark.parametrize(
    ("chains", "packet", "expected"),
    [
        pytest.param(
            {"pre": chain(TO_POD, hook=PREROUTING), "post": MASQUERADE},
            PACKET,
            Outcome(
                "endpoint", Fraction(1), ip_address("10.244.0.1"), 8080, ip_address("10.244.0.254"), True
            ),
            id="masqueraded",
        ),
        pytest.param(
            {"pre": chain(TO_HOST, hook=PREROUTING), "post": MASQUERADE},
            PACKET,
            Outcome("endpoint", Fraction(1), ip_address("192.0.2.1"), 22, CLIENT),
            id="for this node: no postrouting",
        ),
        pytest.param(
            {"pre": chain(TO_HOST, hook=PREROUTING), "in": chain(DROP, hook=INPUT, kind="filter")},
            PACKET,
            Outcome("drop", Fraction(1), reason="why"),
            id="for this node: input",
        ),
        pytest.param(
            {
                "pre": chain(TO_POD, hook=PREROUTING),
                "on": chain(TRANSLATED + DROP, hook=FORWARD, kind="filter"),
            },
            PACKET,
            Outcome("drop", Fraction(1), reason="why"),
            id="forward sees the translation",
        ),
        pytest.param(
            {"pre": chain(DROP, hook=PREROUTING), "out": chain(TO_POD, hook=OUTPUT)},
            OWN,
            Outcome("endpoint", Fraction(1), ip_address("10.244.0.1"), 8080, ip_address("192.0.2.1")),
            id="a process of this node: output",
        ),
        pytest.param(
            {"a": chain(TO_POD, hook=PREROUTING), "b": chain(TO_HOST, hook=PREROUTING, priority=-90)},
            PACKET,
            Outcome("endpoint", Fraction(1), ip_address("10.244.0.1"), 8080, CLIENT),
            id="translated once",
        ),
        pytest.param(
            {"b": chain(TO_POD, hook=PREROUTING), "a": chain(TO_HOST, hook=PREROUTING, priority=-110)},
            PACKET,
            Outcome("endpoint", Fraction(1), ip_address("192.0.2.1"), 22, CLIENT),
            id="by priority",
        ),
        pytest.param(
            {
                "nat": chain(TO_POD, hook=PREROUTING),
                "late": chain(
                    ADDRESS + expr.compare("==", POD[:4], 0) + DROP,
                    hook=PREROUTING,
                    kind="filter",
                    priority=0,
                ),
            },
            PACKET,
            Outcome("drop", Fraction(1), reason="why"),
            id="filters go on after a translation",
        ),
        pytest.param(
            {"base": chain(hook=PREROUTING, kind="filter", is_open=False)},
            PACKET,
            Outcome("drop", Fraction(1), reason="the policy of base"),
            id="policy drop",
        ),
        pytest.param(
            {"pre": chain(TO_POD, hook=PREROUTING), "post": chain(LEAVES_BY_PODS + DROP, hook=POSTROUTING)},
            PACKET,
            Outcome("drop", Fraction(1), reason="why"),
            id="where it leaves",
        ),
        pytest.param(
            {"pre": chain(TO_POD, hook=PREROUTING)},
            Packet(ip_address("10.244.0.1"), "tcp", SERVICE, 80, link="pods"),
            Outcome(
                "endpoint",
                Fraction(1),
                ip_address("10.244.0.1"),
                8080,
                ip_address("10.244.0.1"),
                is_hairpin=True,
            ),
            id="hairpin",
        ),
        pytest.param(
            {},
            Packet(ip_address("fd00:244::fe"), "tcp", ip_address("2001:db8::1"), 80),
            Outcome("unroutable", Fraction(1), reason="no route to 2001:db8::1"),
            id="no way out",
        ),
    ],
)
def test_hooks(chains: dict[str, ListedChain], packet: Packet, expected: Outcome) -> None:
    """The way from hook to hook, and what the endpoint sees."""
    assert walk(chains, packet=packet).outcomes == (expected,)


def test_steps() -> None:
    """Each rule that is met, with what it found, in order; rules alike are one."""
    maps = {"set": SET, "pool": POOL}
    draw = expr.load_random(4, 0) + TO_FOUND
    told = walk(chain(ADDRESS + expr.not_in_set("set", 0) + DROP, draw, draw, hook=PREROUTING), maps)

    assert told.steps == (
        Step("base", 1, 1, "why", ("set[10.96.0.1]: there",), (), Fraction(1)),
        Step(
            "base",
            2,
            2,
            "why",
            (
                "pool[0…3 by chance] = 10.244.0.1 . 8080 (1/2)",
                "pool[0…3 by chance] = 10.244.0.2 . 8080 (1/4)",
                "pool[0…3 by chance]: not there (1/4)",
            ),
            ("to 10.244.0.1:8080", "to 10.244.0.2:8080"),
            Fraction(1),
        ),
    )
