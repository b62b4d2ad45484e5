"""What may be changed of pools under their blocks."""

import msgspec
import pytest

from ipam.ledger import LedgerReader
from ipam.model import Pool
from ipam.pool_record import delete_pool, put_pool
from nodeplane.errors import ConfigError
from tests.ipam.stand import Stand
from tests.ipam.values import network

POOL = Pool("default", network("10.0.0.0/28"), 30)
SPARE = Pool("spare", network("10.9.0.0/30"), 30)
MOVED = msgspec.structs.replace(POOL, network=network("10.1.0.0/28"))
CUT = msgspec.structs.replace(POOL, block_size=31)
OVER = Pool("other", network("10.0.0.8/29"), 30)
WAS = "expected 10.0.0.0/28 with blockSize 30 as the datastore has it"
APART = "expected a CIDR apart from pool default, 10.0.0.0/28 with blockSize 30"


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        pytest.param(MOVED, f"ipam.pools.default: {WAS}: it has 1 blocks in use", id="CIDR"),
        pytest.param(CUT, f"ipam.pools.default: {WAS}: it has 1 blocks in use", id="blockSize"),
        pytest.param(OVER, f"ipam.pools.other: {APART}: it has 1 blocks in use", id="overlap"),
    ],
)
def test_a_configuration_does_not_change_a_pool_under_its_blocks(pool: Pool, message: str) -> None:
    stand = Stand(POOL)
    stand.add(1)
    stand.pools = (pool,)

    with pytest.raises(ConfigError) as caught:
        stand.add(2)

    assert str(caught.value) == f"network configuration: {message}"
    assert stand.datastore.read(LedgerReader.pools) == (POOL,)


def test_a_configuration_takes_the_place_of_pools_without_blocks() -> None:
    stand = Stand(SPARE, POOL)
    stand.add(1)
    moved = Pool("other", network("10.0.0.0/27"), 31)
    stand.pools = (moved, SPARE)

    stand.add(2)

    assert stand.datastore.read(LedgerReader.pools) == (moved, SPARE)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"disabled": True}, id="disabled"),
        pytest.param({"node_selector": "zone=east"}, id="nodeSelector"),
        pytest.param({"namespace_selector": "team=red"}, id="namespaceSelector"),
        pytest.param({"reserved": (network("10.0.0.0/29"),)}, id="reserved"),
    ],
)
def test_the_rest_of_a_pool_may_change(fields: dict[str, object]) -> None:
    stand = Stand()
    changed = msgspec.structs.replace(POOL, **fields)
    stand.datastore.transact(lambda ledger: put_pool(ledger, POOL))
    stand.add(1)

    stand.datastore.transact(lambda ledger: put_pool(ledger, changed))

    assert stand.datastore.read(LedgerReader.pools) == (changed,)


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        pytest.param(MOVED, f"pools.yaml: default.cidr: {WAS}: it has 1 blocks in use", id="CIDR"),
        pytest.param(CUT, f"pools.yaml: default.cidr: {WAS}: it has 1 blocks in use", id="blockSize"),
        pytest.param(OVER, f"pools.yaml: other.cidr: {APART}", id="overlap"),
    ],
)
def test_put_refuses(pool: Pool, message: str) -> None:
    stand = Stand(POOL)
    stand.add(1)

    with pytest.raises(ConfigError) as caught:
        stand.datastore.transact(lambda ledger: put_pool(ledger, pool, "pools.yaml"))

    assert str(caught.value) == message


def test_put_never_forgets_another_pool() -> None:
    """Also one without blocks: what a person has put there, only a person takes away."""
    stand = Stand()
    stand.datastore.transact(lambda ledger: put_pool(ledger, POOL))

    with pytest.raises(ConfigError):
        stand.datastore.transact(lambda ledger: put_pool(ledger, OVER))
    stand.datastore.transact(lambda ledger: put_pool(ledger, MOVED))

    assert stand.datastore.read(LedgerReader.pools) == (MOVED,)


def test_delete() -> None:
    stand = Stand(POOL, SPARE)
    stand.add(1)

    stand.datastore.transact(lambda ledger: delete_pool(ledger, "spare"))

    assert stand.datastore.read(LedgerReader.pools) == (POOL,)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param(
            "default",
            "POOL: default: expected a pool without blocks: disable it, and delete it when its pods are "
            "gone: it has "
            "1 blocks in use",
            id="in use",
        ),
        pytest.param("blue", "POOL: blue: expected the name of a pool: default", id="unknown"),
    ],
)
def test_delete_refuses(name: str, message: str) -> None:
    stand = Stand(POOL)
    stand.add(1)

    with pytest.raises(ConfigError) as caught:
        stand.datastore.transact(lambda ledger: delete_pool(ledger, name, "POOL"))

    assert str(caught.value) == message
