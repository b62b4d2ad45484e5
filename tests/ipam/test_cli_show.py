"""What `ipamctl show`, `blocks` and `pools` print."""

import json
from typing import Any

import pytest
import yaml

from tests.ipam.ctl import BLOCK, FIRST, SECOND, Run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["show", "--all"], [FIRST, SECOND], id="show all"),
        pytest.param(["show", "10.0.0.1"], [SECOND], id="show one"),
        pytest.param(["show", "--pod", "default/web-1"], [FIRST, SECOND], id="show a pod's"),
        pytest.param(["show", "--handle", "c1/eth0"], [SECOND], id="show a handle's"),
        pytest.param(
            ["show"],
            {
                "pools": [
                    {
                        "pool": "default",
                        "cidr": "10.0.0.0/28",
                        "size": 16,
                        "reserved": 1,
                        "allocations": 2,
                        "free": 13,
                        "borrowed": 0,
                        "tunnels": 0,
                        "blocks": 1,
                        "blocks_by_node": ["n1 1"],
                    }
                ],
                "blocks": [BLOCK],
            },
            id="show",
        ),
        pytest.param(["blocks"], [BLOCK], id="blocks"),
        pytest.param(
            ["pools"],
            [
                {
                    "pool": "default",
                    "cidr": "10.0.0.0/28",
                    "block_size": 30,
                    "blocks": "1/4",
                    "used": 2,
                    "size": 16,
                    "reserved": ["10.0.0.15/32"],
                    "disabled": False,
                    "node_selector": "",
                    "namespace_selector": "",
                    "on_link": False,
                    "nat_outgoing": False,
                    "mode": "direct",
                    "unclaimed": ["10.0.0.4/30", "10.0.0.8/29"],
                }
            ],
            id="pools",
        ),
    ],
)
def test_rows(run: Run, arguments: list[str], expected: Any) -> None:
    assert run.rows(*arguments) == expected


def test_other_formats(run: Run) -> None:
    assert yaml.safe_load(run("show", "--all", "-o", "yaml")[1]) == [FIRST, SECOND]
    assert run("blocks")[1] == (
        "BLOCK        POOL     NODE  SIZE  USED  FREE  LENT\n"
        "10.0.0.0/30  default  n1    4     2     2     0\n"
    )


def test_map(run: Run) -> None:
    code, out, err = run("blocks", "--map")

    assert (code, out.splitlines()[1].split()[-1]) == (0, "##..")
    assert err == "# in use, > in use on another node, ~ freed, . never used, x reserved\n"
    assert json.loads(run("blocks", "--map", "-o", "json")[1]) == [{**BLOCK, "map": ["##.."]}]
