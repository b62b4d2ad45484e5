"""The plugin `dns64`: RFC 6147's rules, RFC 6052's addresses."""

from ipaddress import IPv6Network, ip_address

import pytest

from coredns_lite.plugin import Client
from coredns_lite.plugins.dns64 import Dns64, embed
from coredns_lite.wire.reply import Answer, Rcode
from nodeplane.errors import ConfigError
from tests.coredns_lite.plugins.links import CLIENT, Seen, Stub, ask, build, decode_site, records

IPV6_CLIENT = Client(ip_address("fd00::1"), 4000, "udp")
SOA = records("org. 30 IN SOA ns.org. me.org. 1 2 3 4 5")
ANSWERS = {
    ("v4.org.", "AAAA"): Answer(authority=SOA),
    ("v4.org.", "A"): Answer(answers=records("@ 60 IN A 192.0.2.1", "@ 20 IN A 192.0.2.2")),
    ("bare.org.", "AAAA"): Answer(),
    ("bare.org.", "A"): Answer(answers=records("@ 6000 IN A 192.0.2.1")),
    ("alias.org.", "AAAA"): Answer(answers=records("@ 5 IN CNAME v4.org.")),
    ("alias.org.", "A"): Answer(answers=records("@ 5 IN CNAME v4.org.", "v4.org. 5 IN A 192.0.2.1")),
    ("dual.org.", "AAAA"): Answer(answers=records("@ 5 IN AAAA fd00::9")),
    ("dual.org.", "A"): Answer(answers=records("@ 5 IN A 192.0.2.1")),
    ("mapped.org.", "AAAA"): Answer(answers=records("@ 5 IN AAAA ::ffff:192.0.2.9")),
    ("mapped.org.", "A"): Answer(answers=records("@ 5 IN A 192.0.2.1")),
    ("broken.org.", "AAAA"): Answer(Rcode.SERVFAIL),
    ("broken.org.", "A"): Answer(answers=records("@ 5 IN A 192.0.2.1")),
    ("none.org.", "AAAA"): Answer(authority=SOA),
}
SOA_TEXT = "org. 30 IN SOA ns.org. me.org. 1 2 3 4 5"


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    ("text", "client", "name", "seen"),
    [
        (
            "dns64",
            IPV6_CLIENT,
            "v4.org",
            Seen(answer=("v4.org. 20 IN AAAA 64:ff9b::c000:201", "v4.org. 20 IN AAAA 64:ff9b::c000:202")),
        ),
        ("dns64", CLIENT, "v4.org", Seen(authority=(SOA_TEXT,))),
        (
            "dns64 {\n allow_ipv4\n}",
            CLIENT,
            "bare.org",
            Seen(answer=("bare.org. 600 IN AAAA 64:ff9b::c000:201",)),
        ),
        (
            "dns64",
            IPV6_CLIENT,
            "alias.org",
            Seen(answer=("alias.org. 5 IN CNAME v4.org.", "v4.org. 5 IN AAAA 64:ff9b::c000:201")),
        ),
        ("dns64", IPV6_CLIENT, "dual.org", Seen(answer=("dual.org. 5 IN AAAA fd00::9",))),
        (
            "dns64 {\n translate_all\n}",
            IPV6_CLIENT,
            "dual.org",
            Seen(answer=("dual.org. 5 IN AAAA 64:ff9b::c000:201",)),
        ),
        ("dns64", IPV6_CLIENT, "mapped.org", Seen(answer=("mapped.org. 5 IN AAAA 64:ff9b::c000:201",))),
        ("dns64", IPV6_CLIENT, "broken.org", Seen(answer=("broken.org. 5 IN AAAA 64:ff9b::c000:201",))),
        ("dns64", IPV6_CLIENT, "none.org", Seen(authority=(SOA_TEXT,))),
        ("dns64", IPV6_CLIENT, "nx.org", Seen("NXDOMAIN")),
        (
            "dns64 64:1337::/96",
            IPV6_CLIENT,
            "bare.org",
            Seen(answer=("bare.org. 600 IN AAAA 64:1337::c000:201",)),
        ),
    ],
)
def test_dns64(text: str, client: Client, name: str, seen: Seen, later: bool) -> None:
    stub = Stub(ANSWERS, later=later)
    found, answer = ask(build(text, stub), name, "AAAA", client=client)

    assert found == seen
    # What depends on the client is not kept for others.
    assert answer.is_lasting == ("allow_ipv4" in text)


def test_other_types_pass() -> None:
    stub = Stub(ANSWERS)

    assert ask(build("dns64", stub), "v4.org", "A", client=IPV6_CLIENT)[1] == ANSWERS["v4.org.", "A"]
    assert stub.asked == ["v4.org. A"]


# RFC 6052 section 2.4.
@pytest.mark.parametrize(
    ("prefix", "address"),
    [
        ("2001:db8::/32", "2001:db8:c000:221::"),
        ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
        ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
        ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
    ],
)
def test_embed(prefix: str, address: str) -> None:
    assert embed(IPv6Network(prefix), ip_address("192.0.2.33").packed) == ip_address(address).packed


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("dns64", Dns64()),
        ("dns64 64:1::/96", Dns64(IPv6Network("64:1::/96"))),
        (
            "dns64 {\n prefix 64::/32\n translate_all\n allow_ipv4\n}",
            Dns64(IPv6Network("64::/32"), True, True),
        ),
    ],
)
def test_decode(text: str, config: Dns64) -> None:
    assert decode_site(text).plugins == {"dns64": (config,)}


LENGTHS = "expected a length of 32, 40, 48, 56, 64 or 96 and zero in bits 64 to 71"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("dns64 10.0.0.0/8", "2: 10.0.0.0/8: expected a network of IPv6"),
        ("dns64 64::/33", f"2: 64::/33: {LENGTHS}"),
        ("dns64 64:0:0:0:100::/96", f"2: 64:0:0:0:100::/96: {LENGTHS}"),
        (
            "dns64 {\n translate\n}",
            "3: translate: expected an option of dns64: prefix, translate_all, allow_ipv4",
        ),
    ],
)
def test_decode_refuses(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode_site(text)

    assert str(caught.value) == f"Corefile:{error}"
