"""What others did to our table is noticed and repaired, and nothing else is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kubeproxy.proxiers import (
    CLIENT,
    FULL,
    T,
    elements_in,
    first_element,
    kernel_tables,
    proxier_on,
    walk,
)
from tests.netns_fixture import run_in


def reset_counter(ns: Path) -> str:
    element = first_element(ns, "frontends")
    key = element.split(" : ", maxsplit=1)[0]
    return f"delete element {T} frontends {{ {key} }}; add element {T} frontends {{ {element} }}"


@pytest.mark.netns
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("flush ruleset", id="everything gone"),
        pytest.param(f"delete table {T}", id="table gone"),
        pytest.param(f"flush chain {T} services", id="rules gone"),
        pytest.param(f"add element {T} hairpins {{ 1.1.1.1 . 1.1.1.1 }}", id="element added"),
        pytest.param(f"flush map {T} classes", id="fixed elements gone"),
        pytest.param(f"add element {T} frontends {{ * : ff00:0 }}", id="catch-all added"),
        pytest.param(
            f"add chain {T} filter-output {{ type filter hook output priority 0; policy drop; }}",
            id="chain added",
        ),
        pytest.param(f"add table {T} {{ flags dormant; }}", id="made dormant"),
        *(
            pytest.param(f"flush {kind} {T} {name}", id=f"{name} gone")
            for kind, names in {
                "map": ("frontends", "local-pools", "slots", "members", "member-addresses", "affine-pools"),
                "set": ("members-alive", "source-ranges", "cluster-ips", "service-cidrs", "hairpins"),
            }.items()
            for name in names
        ),
        pytest.param(
            f"add element {T} service-cidrs {{ 10.98.0.0/24 }}",
            id="range added",
        ),
        pytest.param(f"add element {T} node-port-ips {{ 1.1.1.1 }}", id="address added"),
        pytest.param(f"add element {T} members-alive {{ 0:7 }}", id="member added"),
        pytest.param(f"delete set {T} node-port-ips", id="set gone"),
    ],
)
def test_damage_is_noticed_and_repaired(damage: str) -> None:
    """What others do to our table is undone (law 3)."""
    with kernel_tables() as (ns, edges):
        proxier = proxier_on(edges)
        walk(proxier, [FULL])
        right = elements_in(edges)
        assert not proxier.is_disturbed()
        done = run_in(ns, "nft", damage)
        assert (done.returncode, done.stderr) == (0, "")

        assert proxier.is_disturbed()
        assert proxier.sync(full=True).transactions
        assert elements_in(edges) == right
        assert not proxier.is_disturbed()


@pytest.mark.netns
@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda _: CLIENT, id="a client remembered"),
        pytest.param(lambda _: f"{CLIENT}; flush map {T} affinity", id="clients forgotten"),
        pytest.param(reset_counter, id="a counter reset"),
        pytest.param(lambda _: "add table ip other", id="another table"),
    ],
)
def test_no_damage(write: Callable[[Path], str]) -> None:
    """What rules write, and what they count, is no state of ours: nothing is written for it."""
    with kernel_tables() as (ns, edges):
        proxier = proxier_on(edges)
        walk(proxier, [FULL])
        done = run_in(ns, "nft", write(ns))
        assert (done.returncode, done.stderr) == (0, "")

        assert proxier.is_disturbed()
        assert proxier.sync(full=True).transactions == 0
        assert not proxier.is_disturbed()
