"""The lines of `cache` in a Corefile."""

import pytest

from coredns_lite.corefile.parser import parse_corefile
from coredns_lite.plugins import cache
from coredns_lite.plugins.cache import Cache
from coredns_lite.plugins.cache.entry import Limits
from coredns_lite.plugins.cache.link import Prefetch, Stale
from nodeplane.errors import ConfigError


def decode(line: str) -> Cache:
    (block,) = parse_corefile(f"example {{\n{line}\n}}", "Corefile")
    return cache.decode(block.directives[0], ("example.",))


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("cache", {}),
        ("cache 30", {"success": Limits(9984, 30, 5), "denial": Limits(9984, 30, 5)}),
        ("cache 3", {"success": Limits(9984, 3, 3), "denial": Limits(9984, 3, 3)}),
        ("cache a.example b.example", {"zones": ("a.example.", "b.example.")}),
        (
            "cache 60 a.example",
            {"zones": ("a.example.",), "success": Limits(9984, 60, 5), "denial": Limits(9984, 60, 5)},
        ),
    ],
)
def test_arguments(line: str, values: dict[str, object]) -> None:
    assert decode(line) == Cache(**{"denial": Limits(9984, 1800, 5), **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("success 5000", {"success": Limits(5000, 3600, 5)}),
        ("success 5000 600", {"success": Limits(5000, 600, 5)}),
        ("denial 2500 30 1", {"denial": Limits(2500, 30, 1)}),
        ("denial 2500 2", {"denial": Limits(2500, 2, 2)}),
        ("prefetch 10", {"prefetch": Prefetch(10)}),
        ("prefetch 0", {}),
        ("prefetch 10 2m", {"prefetch": Prefetch(10, 120.0)}),
        ("prefetch 10 20%", {"prefetch": Prefetch(10, 60.0, 20)}),
        ("prefetch 10 2m 90%", {"prefetch": Prefetch(10, 120.0, 90)}),
        ("serve_stale", {"serve_stale": Stale()}),
        ("serve_stale 10m", {"serve_stale": Stale(600.0)}),
        ("serve_stale verify", {"serve_stale": Stale(verifies=True)}),
        ("serve_stale 10m immediate", {"serve_stale": Stale(600.0)}),
        ("serve_stale 10m verify", {"serve_stale": Stale(600.0, verifies=True)}),
        ("servfail 1m", {"servfail_s": 60}),
        ("servfail 0", {"servfail_s": 0}),
        ("disable denial", {"disabled": (("denial", (".",)),)}),
        (
            "disable success a.example b.example",
            {"disabled": (("success", ("a.example.", "b.example.")),)},
        ),
        ("keepttl", {"keeps_ttl": True}),
    ],
)
def test_option(option: str, values: dict[str, object]) -> None:
    assert decode(f"cache {{\n{option}\n}}") == Cache(**values)  # type: ignore[arg-type]


def test_an_option_overrides_the_ttl() -> None:
    assert decode("cache 30 {\nsuccess 100 600\ndenial 50\n}") == Cache(
        (), Limits(100, 600, 5), Limits(50, 30, 5)
    )


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ("success", "success: expected CAPACITY [TTL] [MINTTL] after it"),
        ("success 1 2 3 4", "success: expected CAPACITY [TTL] [MINTTL] after it"),
        ("success 0", "0: expected a capacity from 1 to 1000000"),
        ("denial 10 many", "many: expected seconds from 0 to 2147483647"),
        ("denial 10 20 30", "30: expected no more than the TTL of 20"),
        ("prefetch", "prefetch: expected AMOUNT [DURATION] [PERCENTAGE%] after it"),
        ("prefetch 10 20% 1m", "1m: expected a percentage such as 20%"),
        ("prefetch 10 95%", "95%: expected a percentage from 10% to 90%"),
        ("prefetch 10 soon", "soon: expected a duration such as 500ms, 30s or 1h30m"),
        ("serve_stale 1h later", "later: expected immediate or verify"),
        ("serve_stale 1h verify x", "x: expected [DURATION] [immediate|verify] and no more"),
        ("serve_stale 0s", "0s: expected a duration above 0"),
        ("servfail 6m", "6m: expected at most 5m"),
        ("disable", "disable: expected success or denial after it"),
        ("disable all", "all: expected success or denial"),
        ("keepttl yes", "yes: expected nothing after keepttl"),
        (
            "shards 4",
            "shards: expected an option of cache: "
            "denial, disable, keepttl, prefetch, serve_stale, servfail, success",
        ),
    ],
)
def test_refused(option: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(f"cache {{\n{option}\n}}")

    assert str(caught.value) == f"Corefile:3: {error}"


def test_refused_arguments() -> None:
    with pytest.raises(ConfigError, match=r"^Corefile:2: 0: expected seconds from 1 to 2147483647$"):
        decode("cache 0")
    with pytest.raises(ConfigError, match=r"^Corefile:2: a..b: expected a zone such as cluster.local$"):
        decode("cache 30 a..b")
    with pytest.raises(ConfigError, match=r"^Corefile:4: keepttl: expected each option once$"):
        decode("cache {\nkeepttl\nkeepttl\n}")
