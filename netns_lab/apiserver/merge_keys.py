"""How the lists of our kinds merge: the `patchStrategy` and `patchMergeKey` tags of k8s.io/api's types.

A list that is not named here is replaced whole, as upstream's are that have no tag.
"""

from typing import TypeAlias

import msgspec

Path: TypeAlias = tuple[str, ...]
"""The names of the fields on the way; entries of lists add nothing."""


class MergeList(msgspec.Struct, frozen=True):
    """A list that is merged entry by entry.

    Attributes:
        key: The field that tells its entries apart; empty for a list of plain values.
        map_keys: The fields that tell them apart in server-side apply (`listMapKey`).
    """

    key: str = ""
    map_keys: tuple[str, ...] = ()


def _by(key: str, *map_keys: str) -> MergeList:
    return MergeList(key, map_keys or (key,))


_METADATA: dict[Path, MergeList] = {
    ("metadata", "finalizers"): MergeList(),
    ("metadata", "ownerReferences"): _by("uid"),
}
_CONTAINER: dict[Path, MergeList] = {
    ("ports",): _by("containerPort", "containerPort", "protocol"),
    ("env",): _by("name"),
    ("volumeMounts",): _by("mountPath"),
    ("volumeDevices",): _by("devicePath"),
}
_CONDITIONS: dict[Path, MergeList] = {("status", "conditions"): _by("type")}

MERGE_LISTS: dict[str, dict[Path, MergeList]] = {
    "Namespace": {**_METADATA, **_CONDITIONS},
    "Node": {
        **_METADATA,
        **_CONDITIONS,
        ("spec", "podCIDRs"): MergeList(),
        ("status", "addresses"): _by("type"),
    },
    "Pod": {
        **_METADATA,
        **_CONDITIONS,
        **{
            ("spec", containers, *path): entry
            for containers in ("containers", "initContainers", "ephemeralContainers")
            for path, entry in {(): _by("name"), **_CONTAINER}.items()
        },
        ("spec", "volumes"): _by("name"),
        ("spec", "imagePullSecrets"): _by("name"),
        ("spec", "hostAliases"): _by("ip"),
        ("spec", "topologySpreadConstraints"): _by("topologyKey", "topologyKey", "whenUnsatisfiable"),
        ("spec", "resourceClaims"): _by("name"),
        ("spec", "schedulingGates"): _by("name"),
        ("status", "podIPs"): _by("ip"),
        ("status", "hostIPs"): _by("ip"),
    },
    "Service": {**_METADATA, **_CONDITIONS, ("spec", "ports"): _by("port", "port", "protocol")},
    "ConfigMap": _METADATA,
    "Event": _METADATA,
    "EndpointSlice": _METADATA,
    "Lease": _METADATA,
    "ServiceCIDR": {**_METADATA, **_CONDITIONS},
}
