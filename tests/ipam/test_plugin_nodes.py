"""What calls of nodeplane-ipam leave alone: datastores that are not there, other nodes, tunnel addresses."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ipam.allocator import Allocator
from ipam.datastore import open_datastore
from ipam.ledger import LedgerReader
from ipam.plugin import COMMANDS
from nodeplane.cnispec import CniError, decode_request
from nodeplane.errors import ApiError
from tests.ipam.test_plugin import ADD, DEL, POOL, added, call, failed
from tests.ipam.test_plugin_verbs import CHECK, DONE, GC, LARGE, STATUS, container, held, prev, with_ipam

NO_DATASTORE = "nodeplane-ipam: {path}: there is no datastore: nothing to free"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        pytest.param(DEL, (0, None, f"{NO_DATASTORE} for c1/eth0\n"), id="DEL"),
        pytest.param(GC, (0, None, f"{NO_DATASTORE}\n"), id="GC"),
        pytest.param(CHECK, failed(5, "{path}: there is no datastore"), id="CHECK"),
        pytest.param(STATUS, DONE, id="STATUS"),
    ],
)
def test_only_add_makes_a_datastore(
    environ: dict[str, str], expected: tuple[int, Any, str], tmp_path: Path
) -> None:
    """What is mistyped shows, and leaves nothing behind that would pass for a datastore afterwards."""
    path = tmp_path / "mistyped" / "ipam.sqlite"
    net = with_ipam(tmp_path, pools=[POOL], datastore=f"sqlite://{path}")
    net |= {"cni.dev/valid-attachments": [], **prev("10.0.0.0/32")}
    code, error, stderr = expected
    told = None if error is None else {**error, "msg": error["msg"].format(path=path)}

    assert call(environ, net) == (code, told, stderr.format(path=path))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("pools", "place", "code", "details"),
    [
        pytest.param([], "ipam.sqlite", 50, "", id="nobody would give a pool"),
        pytest.param(
            [POOL],
            "file/ipam.sqlite",
            51,
            "{tmp}/file/ipam.sqlite: there is no datastore, and none can be made in {tmp}/file",
            id="not to be made",
        ),
    ],
)
def test_status_of_what_an_add_would_find(
    pools: list[Any], place: str, code: int, details: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    net = with_ipam(tmp_path, pools=pools, datastore=f"sqlite://{tmp_path}/{place}")

    failure, error, _ = call(STATUS, net)

    assert (failure, error["code"]) == (1, code)
    assert details.format(tmp=tmp_path) in error["details"]
    assert call(ADD, net)[0] == 1
    assert (tmp_path / "file").read_bytes() == b""


def test_one_container_id_on_two_nodes(tmp_path: Path) -> None:
    """Two attachments, in one datastore and, as in a lab, on one machine: a DEL frees its own node's."""
    net = with_ipam(tmp_path, pools=[LARGE])
    nodes = ("n1", "n2")
    for node in nodes:
        (tmp_path / node).touch()
        assert call({**ADD, "CNI_NETNS": str(tmp_path / node)}, {**net, "nodeName": node})[0] == 0
    first, second = held(net)
    with open_datastore(net["ipam"]["datastore"]) as datastore:
        [mine] = [item for item in datastore.read(LedgerReader.allocations) if item.node == "n1"]
    theirs = second if str(mine.address) == first else first

    # Three times, the later ones without a namespace, as containerd does.
    for netns in (str(tmp_path / "n1"), "", ""):
        assert call({**DEL, "CNI_NETNS": netns}, {**net, "nodeName": "n1"}) == DONE
        assert held(net) == [theirs]
    assert call(DEL, {**net, "nodeName": "n2"}) == DONE
    assert held(net) == []


def test_a_tunnel_address_is_no_garbage_and_no_pods(tmp_path: Path) -> None:
    net = with_ipam(tmp_path, pools=[POOL])
    call(ADD, net)
    with open_datastore(net["ipam"]["datastore"]) as datastore:
        [pool] = datastore.read(LedgerReader.pools)
        assert Allocator(datastore, ()).assign_tunnel("n1", pool).ips

    assert call(GC, {**net, "cni.dev/valid-attachments": []}) == DONE

    assert held(net) == ["10.0.0.1"]
    assert call(container(2), net) == added("10.0.0.0/32")
    code, error, _ = call(container(3), net)
    assert (code, error["code"]) == (1, 11)


def test_status_while_kubernetes_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ADD would be served, which is what code 50 says (SPEC section 5)."""

    def read_pod_facts(*_: object) -> None:
        raise ApiError("no answer")

    monkeypatch.setattr("ipam.cluster.read_pod_facts", read_pod_facts)
    net = with_ipam(tmp_path, pools=[POOL], kubernetes={"kubeconfig": "/etc/kubeconfig"})

    with pytest.raises(CniError) as caught:
        COMMANDS["STATUS"](decode_request(STATUS, json.dumps(net).encode()))

    error = caught.value
    assert (error.code, error.msg, error.details) == (50, "no address can be given", "no answer")
