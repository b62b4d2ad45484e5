"""The constant rules: sizes, draws, and that every one of them can be printed."""

import json
from fractions import Fraction

import pytest

from kubeproxy.layout import SIZES
from kubeproxy.skeleton import balance_draws, build_skeleton
from nodeplane.datapath import netns
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.kernel import KernelTable
from tests.netns_fixture import namespace, run_in


def shares(endpoints: int, size: int) -> list[Fraction]:
    """Return the chance of each slot: every draw that hits an empty slot passes on to the next."""
    chances = [Fraction(0)] * endpoints
    left = Fraction(1)
    for modulus in balance_draws(size):
        taken = min(endpoints, modulus)
        for slot in range(taken):
            chances[slot] += left / modulus
        left *= Fraction(modulus - taken, modulus)
    assert left == 0, "a connection found no endpoint"
    return chances


@pytest.mark.parametrize("size", SIZES[:28], ids=str)
def test_balance_is_even(size: int) -> None:
    """Every connection finds an endpoint, and no share is off by more than 0.5 %."""
    smallest = SIZES[SIZES.index(size) - 1] + 1 if size > 1 else 1
    for endpoints in {smallest, (smallest + size) // 2, size}:
        chances = shares(endpoints, size)

        assert sum(chances) == 1
        assert max(abs(chance * endpoints - 1) for chance in chances) <= Fraction(5, 1000)


@pytest.mark.netns
@pytest.mark.parametrize("family", ["ip", "ip6"])
def test_kernel_and_nft_take_it(family: Family) -> None:
    """The kernel holds exactly what was written, and nft prints all of it without complaint."""
    skeleton = build_skeleton(family)
    with namespace() as ns:
        with netns.inside(ns), KernelTable(family, skeleton.name) as edge:
            edge.replace(skeleton, {})
            state = edge.read(skeleton)
        text = run_in(ns, "nft", "list", "ruleset")
        data = run_in(ns, "nft", "-j", "list", "ruleset")

    assert state is not None
    assert state.holds(skeleton)
    assert (text.returncode, text.stderr) == (0, "")
    assert "invalid" not in text.stdout
    assert (data.returncode, data.stderr) == (0, "")
    printed = [entry["rule"]["chain"] for entry in json.loads(data.stdout)["nftables"] if "rule" in entry]
    assert sorted(printed) == sorted(rule.chain for rule in skeleton.rules)
