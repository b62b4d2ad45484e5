"""What an API server is asked: the path of a kind's collection and the queries of its list and its watch.

Sources: https://kubernetes.io/docs/reference/using-api/api-concepts/ (efficient detection of changes,
streaming lists, retrieving large results sets in chunks) and KEP-3157 (watch-list).
"""

from collections.abc import Mapping

import msgspec

from nodeplane.kube.objects import API_VERSIONS, Object

Query = Mapping[str, str]

PAGE_SIZE = 500
"""Objects in a page of a list; what client-go and kubectl ask for."""


class Selector(msgspec.Struct, frozen=True):
    """Which objects of a kind are wanted: a label and a field selector, as kubectl takes them.

    With `is_optional` a program goes on without the kind where it may not read it.
    """

    label: str = ""
    field: str = ""
    is_optional: bool = False

    @property
    def query(self) -> dict[str, str]:
        """The parameters that every request for these objects carries."""
        named = {"labelSelector": self.label, "fieldSelector": self.field}
        return {name: text for name, text in named.items() if text}


def collection_path(kind: type[Object]) -> str:
    """Return the path of all objects of a kind, in all namespaces, without a leading slash."""
    version = API_VERSIONS[kind]
    prefix = "apis" if "/" in version else "api"
    return f"{prefix}/{version}/{kind.__name__.lower()}s"


def required_rule(kind: type[Object]) -> str:
    """Return what a ClusterRole has to allow for a kind to be followed, as it stands in one."""
    group, _, _ = API_VERSIONS[kind].rpartition("/")
    resource = collection_path(kind).rpartition("/")[2]
    return f'apiGroups: ["{group}"], resources: [{resource}], verbs: [list, watch]'


def list_query(selector: Selector, *, limit: int | None, token: str = "") -> Query:
    """Ask for a page, the one that `token` continues to; without `limit` for the whole list.

    No resourceVersion is named: that asks for the most recent state, never for what a lagging replica has.
    """
    query = selector.query
    if limit is not None:
        query["limit"] = str(limit)
    if token:
        query["continue"] = token
    return query


def watch_query(selector: Selector, resource_version: str, timeout_s: int) -> Query:
    """Ask for what happened after `resource_version`, for `timeout_s` seconds."""
    return {
        **selector.query,
        "watch": "1",
        "resourceVersion": resource_version,
        "allowWatchBookmarks": "true",
        "timeoutSeconds": str(timeout_s),
    }


def streaming_list_query(selector: Selector, timeout_s: int) -> Query:
    """Ask for a watch that begins with every object there is (KEP-3157)."""
    return {
        **selector.query,
        "watch": "1",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": str(timeout_s),
    }
