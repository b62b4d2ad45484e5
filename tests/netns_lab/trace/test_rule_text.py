"""nft's print of a ruleset, rule by rule."""

from netns_lab.trace.rule_text import Ruleset, RuleText, parse_ruleset

PRINTED = """table inet nodeplane-cni { # handle 1
	comment "nodeplane pods 549be0b75cd8a5ff"
	set source-links { # handle 11
		type ifname
		counter
		comment "pods' links # handle 99"
	}

	chain source-check { # handle 24
		comment "a pod sends only as itself"
		type filter hook prerouting priority raw; policy accept;
		iifname != @source-links return comment "only checked links" # handle 51
		iifname @source-links drop # handle 58
	}
}
table netdev mine { # handle 2
	chain in { # handle 1
		type filter hook ingress device "eth0" priority filter; policy drop;
		numgen random mod 100 < 5 drop comment "loss" # handle 3
	}

	chain plain { # handle 2
	}
}
"""


def test_parse() -> None:
    assert parse_ruleset(PRINTED) == Ruleset(
        {
            ("inet", "nodeplane-cni", 51): RuleText("iifname != @source-links return", "only checked links"),
            ("inet", "nodeplane-cni", 58): RuleText("iifname @source-links drop"),
            ("netdev", "mine", 3): RuleText("numgen random mod 100 < 5 drop", "loss"),
        },
        {("inet", "nodeplane-cni", "source-check"): "prerouting", ("netdev", "mine", "in"): "ingress"},
    )


def test_a_rule_that_is_not_there_is_called_by_its_handle() -> None:
    assert Ruleset().find("ip", "t", 7) == RuleText("rule with handle 7")
