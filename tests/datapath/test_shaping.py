"""One contract for the kernel's token buckets and redirections and the fake, and `tc` as another reader."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import open_rtnl
from nodeplane.datapath.shaping import Bucket, Shape, Shaper, build_bucket, open_shaper
from nodeplane.datapath.shaping_fake import FakeShaper
from nodeplane.errors import KernelError, KernelExistsError, KernelNotFoundError
from tests.netns_fixture import namespace, run_in

SLOW = build_bucket(10_000_000, 80_000, 25)
FAST = build_bucket(100_000_000_000, 10_000_000, 25)

Step = Callable[[Shaper], object]


@pytest.fixture
def near() -> Iterator[Path]:
    """Yield a namespace with the links v0 and v1."""
    with namespace("near") as path, namespace("far") as far, open_rtnl(path) as rtnl:
        for name in ("v0", "v1"):
            rtnl.add_veth(name, name, far)
        yield path


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.netns)])
def shaper(request: pytest.FixtureRequest) -> Iterator[Shaper]:
    if request.param == "fake":
        yield FakeShaper(["v0", "v1"])
        return
    near: Path = request.getfixturevalue("near")
    with netns.inside(near), open_shaper() as kernel:
        yield kernel


@pytest.mark.parametrize(
    ("rate_bits", "burst_bytes", "expected"),
    [
        pytest.param(10_000_000, 80_000, Bucket(1_250_000, 1_000_000, 111_250), id="10 Mbit/s: 64 ms"),
        pytest.param(8, 1, Bucket(1, 15_625_000, 1), id="the slowest"),
        pytest.param(8, 10**6, Bucket(1, 2**32 - 1, 10**6), id="more than the kernel can count"),
        pytest.param(10**15, 10**9, Bucket(125 * 10**12, 125, 2**32 - 1), id="a queue without bounds"),
    ],
)
def test_build_bucket(rate_bits: int, burst_bytes: int, expected: Bucket) -> None:
    assert build_bucket(rate_bits, burst_bytes, 25) == expected


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([], Shape(), id="nothing"),
        pytest.param([lambda s: s.limit("v0", SLOW)], Shape(SLOW), id="a limit"),
        pytest.param([lambda s: s.limit("v0", FAST)], Shape(FAST), id="one of more than 32 bits"),
        pytest.param(
            [lambda s: s.limit("v0", FAST), lambda s: s.limit("v0", SLOW)], Shape(SLOW), id="another"
        ),
        pytest.param(
            [lambda s: s.limit("v0", SLOW), lambda s: s.limit("v0", FAST)], Shape(FAST), id="and back"
        ),
        pytest.param([lambda s: s.limit("v0", SLOW), lambda s: s.unlimit("v0")], Shape(), id="taken away"),
        pytest.param([lambda s: s.unlimit("v0"), lambda s: s.undirect("v0")], Shape(), id="without one"),
        pytest.param([lambda s: s.redirect("v0", "v1")], Shape(None, "v1"), id="redirected"),
        pytest.param([lambda s: s.redirect("v0", "v1")] * 2, Shape(None, "v1"), id="redirected twice"),
        pytest.param(
            [
                lambda s: s.add_ifb("i0", 1400),
                lambda s: s.redirect("v0", "v1"),
                lambda s: s.redirect("v0", "i0"),
            ],
            Shape(None, "i0"),
            id="redirected elsewhere",
        ),
        pytest.param(
            [lambda s: s.redirect("v0", "v1"), lambda s: s.undirect("v0")], Shape(), id="no longer redirected"
        ),
        pytest.param(
            [lambda s: s.limit("v0", SLOW), lambda s: s.redirect("v0", "v1"), lambda s: s.undirect("v0")],
            Shape(SLOW),
            id="each by itself",
        ),
    ],
)
def test_what_is_written_is_read(shaper: Shaper, steps: list[Step], expected: Shape) -> None:
    for step in steps:
        step(shaper)

    assert shaper.read("v0") == expected
    assert shaper.read("v1") == Shape()


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(lambda s: s.read("v9"), id="read"),
        pytest.param(lambda s: s.limit("v9", SLOW), id="limit"),
        pytest.param(lambda s: s.unlimit("v9"), id="unlimit"),
        pytest.param(lambda s: s.redirect("v9", "v0"), id="redirect"),
        pytest.param(lambda s: s.redirect("v0", "v9"), id="redirect to"),
        pytest.param(lambda s: s.undirect("v9"), id="undirect"),
    ],
)
def test_a_link_that_is_not_there(shaper: Shaper, step: Step) -> None:
    with pytest.raises(KernelNotFoundError):
        step(shaper)


def test_an_ifb_that_is_there(shaper: Shaper) -> None:
    shaper.add_ifb("i0", 1400)
    assert shaper.read("i0") == Shape()

    with pytest.raises(KernelExistsError):
        shaper.add_ifb("i0", 1400)


@pytest.mark.netns
def test_a_bucket_that_holds_nothing(near: Path) -> None:
    """The kernel's refusal is told, not hidden."""
    with netns.inside(near), open_shaper() as shaper, pytest.raises(KernelError, match="limit link v0"):
        shaper.limit("v0", Bucket(1_250_000, 0, 1000))


def tc(ns: Path, *words: str) -> Any:
    """Run tc and return what it prints as JSON, if anything."""
    done = run_in(ns, "tc", "-j", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout or "null")


@pytest.mark.netns
def test_tc_reads_what_we_wrote(near: Path) -> None:
    with netns.inside(near), open_shaper() as shaper:
        shaper.add_ifb("i0", 1400)
        shaper.limit("v0", SLOW)
        shaper.redirect("v0", "i0")

    (bucket,) = [each for each in tc(near, "qdisc", "show", "dev", "v0") if each["kind"] == "tbf"]
    assert bucket["handle"] == "6e70:"
    assert bucket["root"] is True
    assert {name: bucket["options"][name] for name in ("rate", "burst", "lat")} == {
        "rate": 1_250_000,
        "burst": 80_000,
        "lat": 25_000,
    }
    rules = tc(near, "filter", "show", "dev", "v0", "ingress")
    (rule,) = [each["options"] for each in rules if "actions" in each.get("options", {})]
    assert rule["match"] == {"value": "0", "mask": "0", "offmask": "", "off": 0}
    (action,) = rule["actions"]
    assert (action["kind"], action["mirred_action"], action["direction"], action["to_dev"]) == (
        "mirred",
        "redirect",
        "egress",
        "i0",
    )
    with open_rtnl(near) as rtnl:
        link = rtnl.link("i0")
    assert (link.kind, link.mtu_bytes, link.is_up) == ("ifb", 1400, True)


@pytest.mark.netns
def test_what_others_wrote_is_theirs(near: Path) -> None:
    """It is not read as ours nor taken away; a limit of ours takes its place all the same."""
    for line in (
        "qdisc add dev v0 root handle 1: tbf rate 1mbit burst 9kb latency 25ms",
        "qdisc add dev v0 ingress",
        "filter add dev v0 parent ffff: protocol all u32 match u32 0 0 action mirred egress redirect dev v1",
    ):
        tc(near, *line.split())
    before = tc(near, "qdisc", "show", "dev", "v0")
    with netns.inside(near), open_shaper() as shaper:
        assert shaper.read("v0") == Shape()
        shaper.unlimit("v0")
        shaper.undirect("v0")
        assert tc(near, "qdisc", "show", "dev", "v0") == before

        shaper.limit("v0", SLOW)
        shaper.redirect("v0", "v1")
        assert shaper.read("v0") == Shape(SLOW, "v1")


@pytest.mark.netns
def test_a_redirection_to_a_link_that_is_gone(near: Path) -> None:
    with netns.inside(near), open_shaper() as shaper, open_rtnl(near) as rtnl:
        shaper.add_ifb("i0", 1400)
        shaper.redirect("v0", "i0")
        rtnl.delete_link("i0")

        assert shaper.read("v0") == Shape(None, "")
        shaper.undirect("v0")
        assert shaper.read("v0") == Shape()
