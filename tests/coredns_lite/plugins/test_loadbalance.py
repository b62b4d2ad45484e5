"""The plugin `loadbalance`: which records may be turned, who comes first, and who goes before all."""

from collections import Counter
from ipaddress import ip_network
from pathlib import Path

import pytest

from coredns_lite.plugins.loadbalance import Loadbalance
from coredns_lite.plugins.loadbalance.weights import WeightFile, parse_weights
from coredns_lite.wire.names import encode_name
from coredns_lite.wire.reply import Answer
from nodeplane.errors import ConfigError
from tests.coredns_lite.plugins.links import Stub, ask, build, decode_site, records

THREE = Answer(
    answers=records("@ 5 IN CNAME b.", "b. 5 IN A 10.0.0.1", "b. 5 IN A 10.0.0.2", "b. 5 IN A 192.0.2.3")
)
NAMES = Stub({("a.", "A"): THREE, ("one.", "A"): Answer(answers=records("@ 5 IN A 10.0.0.1"))})


def order(text: str, times: int = 1) -> list[str]:
    """Return the addresses of answers, each a line."""
    handler = build(text, NAMES)
    said = [ask(handler, "a.")[0].answer for _ in range(times)]
    assert all(lines[0] == "a. 5 IN CNAME b." for lines in said)
    return [" ".join(line.rpartition(".")[2] for line in lines[1:]) for lines in said]


def test_prefer() -> None:
    """Those of a network come first, and all take turns."""
    assert order("loadbalance {\n prefer 192.0.2.0/24\n}", 4) == ["3 1 2", "3 2 1", "3 1 2", "3 1 2"]
    assert order("loadbalance {\n prefer fd00::/8\n}", 3) == ["1 2 3", "2 3 1", "3 1 2"]


@pytest.mark.parametrize(
    ("text", "name", "is_lasting"),
    [
        pytest.param("loadbalance {\n prefer 10.0.0.0/8\n}", "a.", False, id="ordered for each query"),
        pytest.param("loadbalance {\n prefer 10.0.0.0/8\n}", "one.", True, id="nothing to order"),
        pytest.param("loadbalance", "a.", True, id="turned from the cache"),
    ],
)
def test_what_is_kept(text: str, name: str, *, is_lasting: bool) -> None:
    assert ask(build(text, NAMES), name)[1].is_lasting == is_lasting


def test_weights(tmp_path: Path) -> None:
    """One is put first as often as its weight says, the others stay; chance is wrong once in a million."""
    file = tmp_path / "weights"
    file.write_text("# weights\nother.\n10.0.0.1 255\n\nB\n10.0.0.1 3\n10.0.0.2 6\n")
    count = Counter(order(f"loadbalance weighted {file}", 1000))

    # 3, 6 and (not there) 1 of 10; five standard deviations on each side.
    assert set(count) == {"1 2 3", "2 1 3", "3 1 2"}
    assert 228 <= count["1 2 3"] <= 372
    assert 523 <= count["2 1 3"] <= 677


def test_weights_and_networks(tmp_path: Path) -> None:
    """Weights decide among those that are preferred."""
    file = tmp_path / "weights"
    file.write_text("b\n192.0.2.3 255\n10.0.0.1 255\n")
    count = Counter(order(f"loadbalance weighted {file} {{\n prefer 10.0.0.0/8\n}}", 200))

    assert {line[-1] for line in count} == {"3"}


def test_a_file_that_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is wrong leaves the last good one in force, and is said once."""
    path, name, address = tmp_path / "weights", encode_name("b"), bytes((10, 0, 0, 1))
    path.write_text("b\n10.0.0.1 3")
    file = WeightFile(path)
    assert (file.weight(name, address), file.weight(name, bytes(4))) == (3, 1)
    path.write_text("b\n10.0.0.1 300")
    file.refresh()
    file.refresh()
    assert file.weight(name, address) == 3
    path.write_text("b\n10.0.0.1 30")
    file.refresh()
    assert file.weight(name, address) == 30
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("10.0.0.1 5", "w:1: 10.0.0.1 5: expected a name before the first address"),
        ("b\n10.0.0.1 0", "w:2: 10.0.0.1 0: expected a weight from 1 to 255"),
        ("b\n10.0.0.1 x", "w:2: 10.0.0.1 x: expected a weight from 1 to 255"),
        ("b\n10.0.0 1", "w:2: 10.0.0 1: '10.0.0' does not appear to be an IPv4 or IPv6 address"),
        ("b\n10.0.0.1 1 1", "w:2: 10.0.0.1 1 1: expected a name, or an address and its weight"),
        ("a..b", "w:1: a..b: expected a label of 1 to 63 bytes, got 0"),
    ],
)
def test_wrong_weights(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_weights(text, "w")

    assert str(caught.value) == error


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a readable file"):
        build(f"loadbalance weighted {tmp_path}/none", NAMES)


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("loadbalance", Loadbalance()),
        ("loadbalance round_robin", Loadbalance()),
        (
            "loadbalance weighted /w {\n reload 0s\n prefer 10.1.2.3/8 fd00::1\n}",
            Loadbalance(Path("/w"), 0.0, (ip_network("10.0.0.0/8"), ip_network("fd00::1"))),
        ),
    ],
)
def test_decode(text: str, config: Loadbalance) -> None:
    assert decode_site(text).plugins == {"loadbalance": (config,)}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("loadbalance random", "2: random: expected round_robin, or weighted and a file"),
        ("loadbalance round_robin x", "2: round_robin: expected round_robin, or weighted and a file"),
        ("loadbalance weighted", "2: weighted: expected one file after it"),
        ("loadbalance {\n reload 5s\n}", "3: reload: expected it with weighted only"),
        ("loadbalance {\n prefer\n}", "3: prefer: expected at least one network after it"),
        (
            "loadbalance {\n prefer here\n}",
            "3: here: expected an IP address or a network in CIDR notation",
        ),
    ],
)
def test_refused(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode_site(text)

    assert str(caught.value) == f"Corefile:{error}"
