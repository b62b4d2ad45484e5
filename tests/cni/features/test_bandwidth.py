"""What a runtime may ask of a pod's bandwidth, and which token buckets that makes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.features.bandwidth import Bandwidth, Limits, build_limits, decode_bandwidth, find_orphans, ifb_name
from cni.features.pod_shaping import differences, shape
from nodeplane.datapath.shaping import Bucket, Shape, build_bucket
from nodeplane.datapath.shaping_fake import FakeShaper
from nodeplane.errors import ConfigError, KernelNotFoundError

CRI_BURST = 2**32 - 1
RATE = 10_000_000
LINK, IFB = "npl0123456789a", "npb9d48f381831"
SLOW, FAST = build_bucket(RATE, 80_000, 25), build_bucket(10 * RATE, 125_000, 25)
SEND, RECEIVE = Limits(egress=SLOW), Limits(ingress=FAST)
BOTH, OTHER = Limits(SLOW, FAST), Limits(FAST, SLOW)


def config(**bandwidth: Any) -> bytes:
    return json.dumps({"name": "n", "runtimeConfig": {"bandwidth": bandwidth}}).encode()


@pytest.mark.parametrize(
    ("given_config", "expected"),
    [
        pytest.param(b"{}", Bandwidth(), id="no capabilities"),
        pytest.param(b'{"runtimeConfig": null}', Bandwidth(), id="null"),
        pytest.param(b'{"runtimeConfig": {"bandwidth": null}}', Bandwidth(), id="no bandwidth"),
        pytest.param(config(), Bandwidth(), id="an empty one"),
        pytest.param(config(ingressRate=0, ingressBurst=0), Bandwidth(), id="zeros"),
        pytest.param(config(ingressRate=RATE), Bandwidth(ingress_rate=RATE), id="without a burst"),
        pytest.param(
            config(egressRate=RATE, egressBurst=CRI_BURST),
            Bandwidth(egress_rate=RATE, egress_burst=CRI_BURST),
            id="as containerd asks",
        ),
        pytest.param(
            config(IngressRate=RATE, IngressBurst=CRI_BURST, EgressRate=0, EgressBurst=0),
            Bandwidth(RATE, CRI_BURST),
            id="in containerd's spelling",
        ),
        pytest.param(config(ingressRate=None, other="x"), Bandwidth(), id="null, and a field of others"),
    ],
)
def test_decode_bandwidth(given_config: bytes, expected: Bandwidth) -> None:
    assert decode_bandwidth(given_config) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(
            {"ingressRate": -1},
            "ingressRate: expected 8 to 1000000000000000 bits a second, or 0 for no limit, got -1",
            id="negative",
        ),
        pytest.param(
            {"egressRate": 7},
            "egressRate: expected 8 to 1000000000000000 bits a second, or 0 for no limit, got 7",
            id="less than a byte a second",
        ),
        pytest.param(
            {"egressRate": 10**15 + 1},
            f"egressRate: expected 8 to {10**15} bits a second, or 0 for no limit, got {10**15 + 1}",
            id="too fast",
        ),
        pytest.param(
            {"ingressRate": RATE, "ingressBurst": 8 * CRI_BURST},
            "ingressBurst: expected 0 to 34359738359 bits, got 34359738360",
            id="a burst of 4 GiB",
        ),
        pytest.param(
            {"ingressRate": RATE, "ingressBurst": -8},
            "ingressBurst: expected 0 to 34359738359 bits, got -8",
            id="negative burst",
        ),
        pytest.param(
            {"egressBurst": 8000}, "egressRate: expected one beside the burst, but missing", id="burst alone"
        ),
        pytest.param({"ingressRate": "10M"}, "ingressRate: expected `int | null`, got `str`", id="a text"),
    ],
)
def test_what_can_not_be_had(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode_bandwidth(config(**fields))

    assert str(caught.value).endswith(f"runtimeConfig.bandwidth.{expected}")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param(Bandwidth(), Limits(), id="nothing"),
        pytest.param(Bandwidth(ingress_rate=RATE), Limits(ingress=SLOW), id="without a burst: 80 kB"),
        pytest.param(Bandwidth(RATE, CRI_BURST), Limits(ingress=SLOW), id="containerd's burst is none"),
        pytest.param(Bandwidth(egress_rate=10 * RATE), Limits(egress=FAST), id="10 ms of a fast one"),
        pytest.param(
            Bandwidth(egress_rate=RATE, egress_burst=1_600_000),
            Limits(egress=build_bucket(RATE, 200_000, 25)),
            id="a burst in bits",
        ),
        pytest.param(
            Bandwidth(egress_rate=RATE, egress_burst=8),
            Limits(egress=build_bucket(RATE, 1564, 25)),
            id="no packet would get through",
        ),
    ],
)
def test_build_limits(asked: Bandwidth, expected: Limits) -> None:
    assert build_limits(asked, 1500) == expected


@pytest.mark.parametrize(
    ("aliases", "expected"),
    [
        pytest.param({}, [], id="no links"),
        pytest.param({"lo": "", "eth0": "", LINK: "c1/eth0 net"}, [], id="no ifb"),
        pytest.param({LINK: "c1/eth0 net default/web-0", IFB: ""}, [], id="a pair"),
        pytest.param({"lo": "", IFB: "c1/eth0 net"}, [IFB], id="without its link"),
        pytest.param({LINK: "c2/eth0 net", IFB: "c1/eth0 net"}, [IFB], id="of an earlier sandbox"),
        pytest.param({LINK: "", IFB: "c1/eth0 net"}, [IFB], id="a link that is just made"),
    ],
)
def test_find_orphans(aliases: dict[str, str], expected: list[str]) -> None:
    assert find_orphans(aliases) == expected


def test_a_name_that_a_link_can_have() -> None:
    assert ifb_name("c1/eth0") == IFB
    assert len(IFB) < 16


@given(st.lists(st.sampled_from([Limits(), SEND, RECEIVE, BOTH, OTHER]), min_size=1))
def test_path_does_not_matter(path: list[Limits]) -> None:
    """What a link has depends on the last ADD alone, never on the way there."""
    shaper = FakeShaper([LINK, IFB])
    for limits in path:
        shape(shaper, LINK, IFB, limits)

    target = IFB if path[-1].egress else None
    assert shaper.read(LINK) == Shape(path[-1].ingress, target)
    if target is not None:
        assert shaper.read(IFB) == Shape(path[-1].egress)
        assert differences(shaper, LINK, IFB, path[-1]) == []


class _Frozen(FakeShaper):
    """Refuses every write."""

    def refuse(self, *_words: object) -> None:
        raise AssertionError("a write")


def test_what_is_right_is_left() -> None:
    """A repeated ADD writes nothing."""
    shaper = _Frozen([LINK, IFB])
    shape(shaper, LINK, IFB, BOTH)
    for name in ("limit", "unlimit", "redirect", "undirect"):
        setattr(shaper, name, shaper.refuse)

    assert shape(shaper, LINK, IFB, BOTH) is False


def test_an_ifb_of_no_use() -> None:
    shaper = FakeShaper([LINK, IFB])
    assert shape(shaper, LINK, IFB, BOTH) is False
    assert shape(shaper, LINK, IFB, RECEIVE) is True
    assert shape(shaper, LINK, IFB, RECEIVE) is False


def test_without_the_links() -> None:
    with pytest.raises(KernelNotFoundError):
        shape(FakeShaper([IFB]), LINK, IFB, BOTH)
    assert differences(FakeShaper([LINK]), LINK, IFB, BOTH) == [
        f"bandwidth: read link {IFB}: No such device (ENODEV)"
    ]


@pytest.mark.parametrize(
    ("there", "asked", "expected"),
    [
        pytest.param(BOTH, BOTH, [], id="none"),
        pytest.param(BOTH, RECEIVE, [f"{LINK} has a limit of 10000000 bit/s"], id="another rate"),
        pytest.param(
            Limits(), SEND, [f"{LINK} is not redirected", f"{IFB} has no limit"], id="nothing there"
        ),
        # A bandwidth plugin behind ours makes limits of its own.
        pytest.param(BOTH, Limits(), [], id="nothing asked for"),
    ],
)
def test_differences(there: Limits, asked: Limits, expected: list[str]) -> None:
    shaper = FakeShaper([LINK, IFB])
    shape(shaper, LINK, IFB, there)

    found = differences(shaper, LINK, IFB, asked)

    assert [line[: len(start)] for line, start in zip(found, expected, strict=True)] == expected


def test_a_bucket_is_told_in_full() -> None:
    shaper = FakeShaper([LINK])
    (line,) = differences(shaper, LINK, IFB, Limits(ingress=Bucket(1250, 10, 2000)))
    assert line == f"{LINK} has no limit, not a limit of 10000 bit/s, 10 ticks, 2000 bytes"
