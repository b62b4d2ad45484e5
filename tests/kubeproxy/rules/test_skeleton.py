"""The constant rules: every draw is even, and all of them can be printed."""

import json
from collections.abc import Iterator
from ipaddress import ip_network
from itertools import pairwise

import pytest

from kubeproxy.rules.addresses import FAMILIES
from kubeproxy.rules.pool_value import AFFINE, CLASS_SHIFT
from kubeproxy.rules.rule_options import LocalDetector, RuleOptions, SourceInterface, SourceNetwork
from kubeproxy.rules.sizes import AFFINITY_SIZES, BALANCE_SIZES, FALLBACK, HASH_SIZES, is_dense
from kubeproxy.rules.skeleton import build_skeleton
from nodeplane.datapath import netns
from nodeplane.datapath.nft import netlink as nl
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.datapath.nft.table import build_state
from tests.netns_fixture import namespace, run_in

SKELETON = build_skeleton("ip")


def expressions(chain: str) -> Iterator[list[tuple[str, dict[int, memoryview]]]]:
    """Yield each rule of a chain as names and attributes of its expressions."""
    for rule in SKELETON.rules:
        if rule.chain == chain:
            parts = [nl.attribute_map(part) for _, part in nl.attributes(memoryview(rule.expressions))]
            yield [(nl.read_text(part[1]), dict(nl.attribute_map(part[2]))) for part in parts]


def draws(chain: str, place: int, *, is_affine: bool) -> Iterator[tuple[int, int]]:
    """Yield modulus and offset of all draws from a chain on, for pools of one size, a place in its ladder."""
    sizes = AFFINITY_SIZES if is_affine else BALANCE_SIZES
    for rule in expressions(chain):
        for name, facts in rule:
            if name == "numgen":
                yield nl.read_u32(facts[2]), nl.read_u32(facts[4])
            elif name == "lookup" and nl.read_text(facts[1]) in {"classes", "affinity-sizes"}:
                prefix = "draw" if is_affine else "balance"
                yield from draws(f"{prefix}-{sizes[place]}", place, is_affine=is_affine)


def fills(sizes: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """Yield each place of a ladder with the fewest and the most slots in use there."""
    most = 0
    for place, size in enumerate(sizes):
        fewest, most = most + 1, size if is_dense(size) else int(size * 0.9)
        yield place, fewest, most


@pytest.mark.parametrize(
    ("chain", "sizes", "is_affine"),
    [("balance", BALANCE_SIZES, False), ("choose", AFFINITY_SIZES, True)],
    ids=["by chance", "remembered"],
)
def test_draws_are_even(chain: str, sizes: tuple[int, ...], is_affine: bool) -> None:
    """At each fill of each size shares are within 1 % of even, and one in a million meets the fallback.

    Each draw is the same for all slots in use, so only the fallback, which is the first endpoint's, makes a
    difference: what is left of the chance after all draws.
    """
    for place, fewest, most in fills(sizes):
        found = list(draws(chain, place, is_affine=is_affine))
        assert found[-1] == (1, FALLBACK)
        assert {(modulus, offset) for modulus, offset in found[:-1]} == {(sizes[place], 0)}
        for used in {fewest, *range(fewest, min(most, fewest + 100)), most}:
            miss = (sizes[place] - used) / sizes[place]
            left = miss ** (len(found) - 1)
            share = (1 - left) / used
            assert left < 1e-6
            assert (share + left) * used - 1 <= 0.01


def test_every_value_finds_its_chain() -> None:
    """Each class, time-out, size and kind leads to a chain that is there, hashes to their modulus."""
    chains = {chain.name for chain in SKELETON.chains}
    targets = {
        (name, int.from_bytes(key, "little")): nl.read_text(
            nl.attribute_map(memoryview(data)).get(2, memoryview(b""))
        )
        for name, content in SKELETON.fixed.items()
        for key, data in content.items()
    }
    assert {target for target in targets.values() if target} <= chains
    classes = [
        targets["classes", class_ << CLASS_SHIFT]
        for class_ in range(len(BALANCE_SIZES) + 2 * len(HASH_SIZES))
    ]
    assert classes == [
        *(f"balance-{size}" for size in BALANCE_SIZES),
        *(f"source-hash-{size}" for size in HASH_SIZES),
        *(f"flow-hash-{size}" for size in HASH_SIZES),
    ]
    for kind in ("source", "flow"):
        for size in HASH_SIZES:
            (rule,) = expressions(f"{kind}-hash-{size}")
            assert [nl.read_u32(facts[4]) for name, facts in rule if name == "hash"] == [size]
    assert all(key < AFFINE for _, key in targets)
    assert all(first < second for first, second in pairwise(BALANCE_SIZES))


DETECTORS: dict[str, dict[Family, LocalDetector]] = {
    "none": {},
    "bridge": dict.fromkeys(FAMILIES, SourceInterface("cni0")),
    "prefix": dict.fromkeys(FAMILIES, SourceInterface("veth", is_prefix=True)),
    "network": {
        "ip": SourceNetwork(ip_network("10.244.0.0/17")),
        "ip6": SourceNetwork(ip_network("fd00:244::/57")),
    },
}


@pytest.mark.netns
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize(
    ("masquerade_bit", "masquerade_all", "node_port_everywhere"), [(14, False, True), (31, True, False)]
)
def test_kernel_and_nft_take_it(
    family: Family, detector: str, masquerade_bit: int, masquerade_all: bool, node_port_everywhere: bool
) -> None:
    """The kernel holds byte for byte what was written, and nft prints all of it without complaint."""
    options = RuleOptions(
        masquerade_bit, masquerade_all, DETECTORS[detector].get(family), node_port_everywhere
    )
    skeleton = build_skeleton(family, options)
    with namespace() as ns:
        with netns.inside(ns), KernelTable(family, skeleton.name) as edge:
            edge.replace(skeleton, {})
            state = edge.read(skeleton)
        text = run_in(ns, "nft", "list", "ruleset")
        data = run_in(ns, "nft", "-j", "list", "ruleset")

    assert state == build_state(skeleton, {})
    assert (text.returncode, text.stderr) == (0, "")
    assert "invalid" not in text.stdout
    assert data.returncode == 0
    # nft 1.0.6 puts `update @map { … }` into its JSON as text, and says so.
    assert set(data.stderr.splitlines()) == {"warning: stmt ops map have no json callback"}
    printed = [entry["rule"]["chain"] for entry in json.loads(data.stdout)["nftables"] if "rule" in entry]
    assert sorted(printed) == sorted(rule.chain for rule in skeleton.rules)


def test_options_are_rules() -> None:
    """A table of other options is not taken for ours; its maps are the same, so that they may be kept."""
    options = [RuleOptions(), RuleOptions(masquerade_bit=1), RuleOptions(masquerade_all=True)]

    tables = [build_skeleton("ip", each) for each in options]
    states = [build_state(table, {}) for table in tables]
    assert [[state.holds(table) for table in tables] for state in states] == [
        [left == right for right in range(len(options))] for left in range(len(options))
    ]
    assert all(state.can_be_repaired(table) for table in tables for state in states)
