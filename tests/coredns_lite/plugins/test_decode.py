"""What the lines of plugins mean, and what is said of wrong ones."""

import logging
import socket
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from coredns_lite.patterns import Pattern
from coredns_lite.plugins.acl import Acl, Action, Policy
from coredns_lite.plugins.chaos import Chaos
from coredns_lite.plugins.errors import Consolidation, Errors
from coredns_lite.plugins.health import Health
from coredns_lite.plugins.hosts import Hosts
from coredns_lite.plugins.prometheus import Prometheus
from coredns_lite.plugins.ready import Ready
from coredns_lite.plugins.reload import Reload
from coredns_lite.plugins.rewrite import Rewrite
from coredns_lite.plugins.rewrite.rules import ClassRule, Match, NameRule, Substitution, TypeRule
from coredns_lite.query_log import COMMON, LogRule, ResponseClass
from nodeplane.errors import ConfigError
from nodeplane.runtime.listen import ListenAddress
from tests.coredns_lite.plugins.links import decode_site

HOST = socket.gethostname()


@pytest.mark.parametrize(
    ("text", "config"),
    [
        pytest.param("reload", Reload(30.0, 15.0), id="reload"),
        pytest.param("reload 10s", Reload(10.0, 5.0), id="reload: at most half of it is random"),
        pytest.param("reload 1m 10s", Reload(60.0, 10.0), id="reload with jitter"),
        pytest.param("health", Health(ListenAddress("", 8080)), id="health"),
        pytest.param(
            "health localhost:1 {\n lameduck 5s\n}",
            Health(ListenAddress("127.0.0.1", 1), 5.0),
            id="health with lameduck",
        ),
        pytest.param("ready", Ready(ListenAddress("", 8181)), id="ready"),
        pytest.param(
            "ready [::1]:1 {\n monitor continuously\n}", Ready(ListenAddress("::1", 1)), id="ready with mode"
        ),
        pytest.param("prometheus", Prometheus(ListenAddress("127.0.0.1", 9153)), id="prometheus"),
        pytest.param("prometheus :9153", Prometheus(ListenAddress("", 9153)), id="prometheus everywhere"),
        pytest.param("errors", Errors(), id="errors"),
        pytest.param(
            'errors {\n stacktrace\n consolidate 5m "x .* y" warning\n consolidate 30s ^a\n}',
            Errors(
                (
                    Consolidation(300.0, "5m", Pattern("x .* y"), logging.WARNING),
                    Consolidation(30.0, "30s", Pattern("^a"), logging.ERROR),
                )
            ),
            id="errors consolidated",
        ),
        pytest.param("log", LogRule(), id="log"),
        pytest.param(
            'log a.example 10.0.0.0/8 "{remote} {name}" {\n class error denial\n}',
            LogRule(
                ("a.example.", "10.in-addr.arpa."),
                "{remote} {name}",
                frozenset({ResponseClass.ERROR, ResponseClass.DENIAL}),
            ),
            id="log with all",
        ),
        pytest.param("log . {combined}", LogRule((".",), f'{COMMON} "{{>opcode}}"'), id="log combined"),
        pytest.param("loop", True, id="loop"),
        pytest.param("bufsize", 1232, id="bufsize"),
        pytest.param("bufsize 512", 512, id="bufsize with a size"),
        pytest.param("bufsize 4096", 1232, id="bufsize: never more than passes any path"),
        pytest.param("nsid", HOST.encode(), id="nsid"),
        pytest.param("nsid rack 7", b"rack 7", id="nsid with a text"),
        pytest.param("chaos", Chaos(), id="chaos"),
        pytest.param("chaos v1 a b a", Chaos("v1", ("a", "b")), id="chaos with authors"),
        pytest.param(
            "acl example.org {\n allow net 10.1.2.3/8 ::1\n filter type any TYPE77 net *\n block\n}",
            Acl(
                ("example.org.",),
                (
                    Policy(Action.ALLOW, None, (ip_network("10.0.0.0/8"), ip_network("::1"))),
                    Policy(Action.FILTER, frozenset({255, 77})),
                    Policy(Action.BLOCK),
                ),
            ),
            id="acl",
        ),
        pytest.param("hosts", Hosts((".",)), id="hosts"),
        pytest.param(
            "hosts /h example.org {\n 10.0.0.1 a b\n ttl 60\n no_reverse\n reload 0\n"
            " fallthrough a.\n ::1 c\n}",
            Hosts(("example.org.",), Path("/h"), "10.0.0.1 a b\n::1 c", 60, False, 0.0, ("a.",)),
            id="hosts with all",
        ),
        pytest.param(
            "rewrite name A.example b",
            Rewrite(NameRule(Match.EXACT, "a.example.", "b.")),
            id="rewrite name",
        ),
        pytest.param(
            "rewrite continue name suffix .a .b. answer auto",
            Rewrite(NameRule(Match.SUFFIX, ".a.", ".b."), True),
            id="rewrite suffix",
        ),
        pytest.param(
            r"rewrite stop {" + "\n" + r" name regex (.*)\.a {1}.b" + "\n" + r" answer name (.*)\.b {1}.a"
            "\n answer value x y\n}",
            Rewrite(
                NameRule(Match.REGEX, r"(.*)\.a", "{1}.b"),
                False,
                (Substitution(Pattern(r"(.*)\.b"), "{1}.a"),),
                (Substitution(Pattern("x"), "y"),),
            ),
            id="rewrite in a block",
        ),
        pytest.param("rewrite type ANY HINFO", Rewrite(TypeRule(255, 13)), id="rewrite type"),
        pytest.param("rewrite class ch IN", Rewrite(ClassRule(3, 1)), id="rewrite class"),
    ],
)
def test_decode(text: str, config: Any) -> None:
    name = text.split(maxsplit=1)[0]

    assert decode_site(text).plugins == {name: (config,)}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("reload 1s", "2: 1s: expected at least 2s", id="reload too often"),
        pytest.param(
            "reload 5s 2s 1s", "2: 1s: expected nothing after interval and jitter", id="reload thrice"
        ),
        pytest.param(
            "reload x", "2: x: expected a duration such as 500ms, 30s or 1h30m", id="reload nonsense"
        ),
        pytest.param(
            "health here:8080",
            "2: here:8080: expected an IP address and a port, such as :8080 or 127.0.0.1:8080",
            id="health of a name",
        ),
        pytest.param(
            "health {\n lame 5s\n}", "3: lame: expected an option of health: lameduck", id="health option"
        ),
        pytest.param(
            "ready {\n monitor often\n}",
            "3: often: expected one of until-ready, continuously",
            id="ready mode",
        ),
        pytest.param("ready :1 :2", "2: :2: expected nothing after the address", id="two addresses"),
        pytest.param(
            "errors {\n consolidate 5m\n}",
            "3: consolidate: expected a duration and a regular expression after it, and maybe a level",
            id="consolidate without expression",
        ),
        pytest.param(
            "errors {\n consolidate 0 x\n}", "3: 0: expected a duration above zero", id="consolidate 0"
        ),
        pytest.param(
            'errors {\n consolidate 1s "("\n}',
            "3: (: expected a regular expression (RE2): missing ): (",
            id="consolidate expression",
        ),
        pytest.param(
            "errors {\n consolidate 1s x loud\n}",
            "3: loud: expected one of the levels debug, info, warning, error",
            id="consolidate level",
        ),
        pytest.param(
            "log {\n class good\n}", "3: good: expected one of success, denial, error, all", id="log class"
        ),
        pytest.param("log a..b", "2: a..b: expected a zone such as cluster.local", id="log zone"),
        pytest.param("bufsize 511", "2: 511: expected bytes from 512 to 4096", id="bufsize"),
        pytest.param('nsid ""', "2: expected a text of 1 to 255 bytes", id="nsid empty"),
        pytest.param(
            "acl", "2: acl: expected a block with some of allow, block, filter, drop", id="acl empty"
        ),
        pytest.param(
            "acl {\n deny\n}", "3: deny: expected one of allow, block, filter, drop", id="acl action"
        ),
        pytest.param("acl {\n block 10.0.0.1\n}", "3: 10.0.0.1: expected type or net", id="acl without net"),
        pytest.param(
            "acl {\n block net\n}", "3: block: expected something after net", id="acl net of nothing"
        ),
        pytest.param(
            "acl {\n block type XYZ\n}", "3: XYZ: expected a record type such as AAAA", id="acl type"
        ),
        pytest.param(
            "acl {\n block net 10.0.0.0/33\n}",
            "3: 10.0.0.0/33: expected an IP address or a network in CIDR notation",
            id="acl net",
        ),
        pytest.param(
            "hosts {\n 10.0.0.1\n}",
            "3: 10.0.0.1: expected an address and its names, or an option of hosts: ttl, no_reverse, reload,"
            " fallthrough",
            id="hosts line",
        ),
        pytest.param("hosts {\n ttl 0\n}", "3: 0: expected seconds from 1 to 65535", id="hosts ttl"),
        pytest.param(
            "rewrite ttl a 1",
            "2: ttl: expected what to rewrite, one of name, type, class",
            id="rewrite field",
        ),
        pytest.param(
            "rewrite name a", "2: name: expected a name and what it becomes after it", id="rewrite name"
        ),
        pytest.param("rewrite type A", "2: type: expected two values after it, got 1", id="rewrite type"),
        pytest.param(
            "rewrite name regex (a) {2}", "2: (a): expected at least 2 groups, as {2} has them", id="groups"
        ),
        pytest.param(
            "rewrite name a..b c",
            "2: a..b: expected a label of 1 to 63 bytes, got 0",
            id="rewrite no name",
        ),
        pytest.param(
            "rewrite name a b answer x",
            "2: answer: expected auto, or name or value with a regular expression and what it becomes",
            id="rewrite answer",
        ),
    ],
)
def test_decode_refuses(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode_site(text)

    assert str(caught.value) == f"Corefile:{error}"
