"""From one schema version to the next: what becomes of all that a datastore holds.

A version stands for the layout of `ipam.records`, together with the layout that the store adds to it. The
stores do the rest: they convert everything as one, or go on where they were interrupted, and keep programs of
other versions out (`ipam.stores.sqlite_file`, `ipam.stores.etcd_schema`).
"""

from collections.abc import Callable, Mapping

SCHEMA_VERSION = 2

Migration = Callable[[Mapping[str, bytes]], dict[str, bytes]]
"""Return all entries in the next version's form; pure."""


def _from_1(entries: Mapping[str, bytes]) -> dict[str, bytes]:
    # Once in the life of a datastore: no pod start pays for it.
    from ipam.migration_1_2 import convert_1_to_2

    return convert_1_to_2(entries)


MIGRATIONS: dict[int, Migration] = {1: _from_1}
"""By the version that each starts from."""


def convert(entries: Mapping[str, bytes], version: int) -> dict[str, bytes]:
    """Return the entries of a version in the form of ours."""
    converted = dict(entries)
    for number in range(version, SCHEMA_VERSION):
        converted = MIGRATIONS[number](converted)
    return converted
