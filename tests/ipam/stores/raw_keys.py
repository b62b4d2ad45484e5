"""What lies in an etcd, past every store; and the smallest step of a transaction."""

from contextlib import closing

from ipam.transact import Transaction
from nodeplane.etcd.client import EtcdClient
from nodeplane.etcd.messages import DeleteRange, Operation, Put, Range, Txn
from tests.etcd.processes import EtcdCluster


def add(transaction: Transaction, key: str = "count") -> int:
    count = int(transaction.get(key) or b"0") + 1
    transaction.put(key, b"%d" % count)
    return count


def put(etcd: EtcdCluster, key: str, value: bytes | None) -> None:
    with closing(EtcdClient(etcd.addresses)) as client:
        name = key.encode()
        operation = (
            Operation(request_delete_range=DeleteRange(name))
            if value is None
            else Operation(request_put=Put(name, value))
        )
        client.txn(Txn((), (operation,)))


def keys(etcd: EtcdCluster, prefix: str) -> dict[str, bytes]:
    with closing(EtcdClient(etcd.addresses)) as client:
        found = client.range(Range(f"{prefix}/".encode(), f"{prefix}0".encode())).kvs
        return {entry.key.decode().removeprefix(prefix): entry.value for entry in found}
