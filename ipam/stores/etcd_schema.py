"""What a prefix of etcd holds, and which version of it.

    PREFIX/data/KEY           the entries
    PREFIX/meta/schema        the version of their layout; every commit compares that it is as it was
    PREFIX/meta/fence/SLOT    see `ipam.stores.etcd_commit`
    PREFIX/meta/commit/SLOT

Entries without a schema are a damaged datastore, never a reason to start anew: an empty one would give the
addresses of running pods out again.
"""

import msgspec

from ipam import migrations
from ipam.errors import DatastoreError, NoDatastoreError
from ipam.migrations import SCHEMA_VERSION
from ipam.store import MAX_KEYS
from nodeplane.etcd.client import EtcdClient
from nodeplane.etcd.errors import EtcdUnknownError
from nodeplane.etcd.messages import (
    Compare,
    DeleteRange,
    KeyValue,
    Operation,
    Put,
    Range,
    Txn,
    encode,
    prefix_range_end,
)
from nodeplane.json_decoder import decode_json

_PAGE = 1000


class Schema(msgspec.Struct, frozen=True, omit_defaults=True):
    """The version of the entries; while they are converted, also the one that they will have."""

    version: int
    target: int = 0


class Layout:
    """The keys of a prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix.encode()
        self.data = f"{prefix}/data/".encode()
        self.schema = f"{prefix}/meta/schema".encode()

    def key(self, key: str) -> bytes:
        """Return etcd's key of one of ours."""
        try:
            return self.data + key.encode("ascii")
        except UnicodeEncodeError as exc:
            raise DatastoreError(f"expected a key of ASCII characters, got {key!r}") from exc

    def name(self, key: bytes) -> str:
        """Return our key of one of etcd's."""
        return key[len(self.data) :].decode()


def open_schema(client: EtcdClient, layout: Layout, *, create: bool) -> tuple[int, int]:
    """Return etcd's revision of the schema, once it is ours, and that of all that it was read with.

    Raises:
        NoDatastoreError: there is none and it is not to be made.
        DatastoreError: what is there is not ours, or too new.
    """
    while True:
        found, count, now = _look(client, layout)
        if found is not None:
            schema = decode_schema(client, layout, found)
            if schema == Schema(SCHEMA_VERSION):
                return found.mod_revision, now
            _migrate(client, layout, schema, found.mod_revision)
            continue
        if count:
            raise DatastoreError(_damaged(client, layout, f"there are keys, but no {layout.schema.decode()}"))
        if not create:
            raise NoDatastoreError(f"{client}, {layout.prefix.decode()}: there is no datastore")
        _create(client, layout)


def decode_schema(client: EtcdClient, layout: Layout, found: KeyValue) -> Schema:
    """Return what the schema's key has.

    Raises:
        DatastoreError: it is not a schema, or one that we do not know.
    """
    try:
        schema = decode_json(found.value, Schema)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise DatastoreError(_damaged(client, layout, f"{layout.schema.decode()}: {exc}")) from exc
    if not 1 <= schema.version <= SCHEMA_VERSION or schema.target > SCHEMA_VERSION:
        raise DatastoreError(
            f"{client}, {layout.prefix.decode()} has schema version {max(schema.version, schema.target)}, "
            f"this nodeplane knows {SCHEMA_VERSION}: run the nodeplane that wrote it, or a newer one"
        )
    return schema


def _look(client: EtcdClient, layout: Layout) -> tuple[KeyValue | None, int, int]:
    """Return the schema, the number of entries, and the revision that they are of."""
    entries = Range(layout.data, prefix_range_end(layout.data), count_only=True)
    reads = (Operation(request_range=Range(layout.schema)), Operation(request_range=entries))
    answer = client.txn(Txn(success=reads))
    schema, data = (item.response_range for item in answer.responses)
    found = () if schema is None else schema.kvs
    return (found[0] if found else None), (0 if data is None else data.count), answer.header.revision


def _create(client: EtcdClient, layout: Layout) -> None:
    # Whoever comes second uses the first's.
    _write_schema(client, layout, Schema(SCHEMA_VERSION), Compare(layout.schema, mod_revision=0))


def _migrate(client: EtcdClient, layout: Layout, schema: Schema, revision: int) -> None:
    """Do the next part of a migration; the caller looks again.

    First the schema says what is going on, and at its `revision` nobody else can write any more: the entries
    as they were then are what is converted, by this process or, should it die, by the next one.
    """
    schema_is_so = Compare(layout.schema, mod_revision=revision)
    if not schema.target:
        _write_schema(client, layout, Schema(schema.version, SCHEMA_VERSION), schema_is_so)
        return
    before, now = _entries(client, layout, revision), _entries(client, layout, 0)
    after = migrations.convert(before, schema.version)
    operations = [_put(layout, key, value) for key, value in after.items() if now.get(key) != value]
    operations += [_delete(layout, key) for key in now.keys() - after.keys()]
    for start in range(0, len(operations), MAX_KEYS):
        client.txn(Txn((schema_is_so,), tuple(operations[start : start + MAX_KEYS])))
    _write_schema(client, layout, Schema(SCHEMA_VERSION), schema_is_so)


def _entries(client: EtcdClient, layout: Layout, revision: int) -> dict[str, bytes]:
    entries: dict[str, bytes] = {}
    start, end = layout.data, prefix_range_end(layout.data)
    while True:
        answer = client.range(Range(start, end, limit=_PAGE, revision=revision))
        entries |= {layout.name(entry.key): entry.value for entry in answer.kvs}
        if not answer.more:
            return entries
        start = answer.kvs[-1].key + b"\0"


def _put(layout: Layout, key: str, value: bytes) -> Operation:
    return Operation(request_put=Put(layout.key(key), value))


def _delete(layout: Layout, key: str) -> Operation:
    return Operation(request_delete_range=DeleteRange(layout.key(key)))


def _write_schema(
    client: EtcdClient,
    layout: Layout,
    schema: Schema,
    compare: Compare,
) -> None:
    """Write the schema if nobody was faster; the caller reads what has become of it."""
    put = Operation(request_put=Put(layout.schema, encode(schema)))
    try:
        client.txn(Txn((compare,), (put,)))
    except EtcdUnknownError:
        # Whether it was carried out shows in the schema. Should that happen only later, after another one has
        # written, its compares fail.
        return


def _damaged(client: EtcdClient, layout: Layout, what: str) -> str:
    return (
        f"{client}, {layout.prefix.decode()} is damaged ({what}): restore etcd from a snapshot; "
        "use another prefix only when no pod has an address from this one"
    )
