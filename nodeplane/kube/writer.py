"""One open client's reading and writing of single objects, as the JSON that they are on the wire.

Decides nothing about what is to be written. Objects are written by server-side apply: the server keeps what
others have set, takes away what we set before and no longer do, and writes nothing where nothing changes.
"""

from typing import Any, TypeAlias

import httpx2
import msgspec

from nodeplane.errors import ApiError
from nodeplane.kube.api_request import collection_path
from nodeplane.kube.objects import API_VERSIONS, CLUSTER_SCOPED, Object, ObjectKey
from nodeplane.kube.session import RefusedError
from nodeplane.kube.wire import decode_status

Json: TypeAlias = dict[str, Any]

# YAML in name; JSON is YAML too, and spares both sides its parser.
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"


class _List(msgspec.Struct, frozen=True):
    items: list[Json] | None = None


class Writer:
    """Requests through a client; `manager` is the name under which the server knows who set a field."""

    def __init__(self, client: httpx2.AsyncClient, manager: str) -> None:
        self._client = client
        self._manager = manager

    async def read(self, kind: type[Object]) -> list[Json]:
        """Return all objects of a kind, each with its kind and version.

        Raises:
            RefusedError: the server said no.
            ApiError: the server was not reached, or was lost.
        """
        body = await self._request("GET", collection_path(kind), f"list {kind.__name__}")
        try:
            listed = msgspec.json.decode(body, type=_List)
        except msgspec.DecodeError as exc:
            raise ApiError(f"list {kind.__name__}: expected a list, got something else: {exc}") from exc
        # The items of a list leave to its head what they are.
        head = {"apiVersion": API_VERSIONS[kind], "kind": kind.__name__}
        return [head | item for item in listed.items or ()]

    async def get(self, key: ObjectKey) -> Json | None:
        """Return one object; None if it is not there.

        Raises:
            RefusedError, ApiError: as `read`.
        """
        try:
            body = await self._request("GET", object_path(key), f"get {key}")
        except RefusedError as exc:
            if exc.code != httpx2.codes.NOT_FOUND:
                raise
            return None
        try:
            return msgspec.json.decode(body, type=Json)
        except msgspec.DecodeError as exc:
            raise ApiError(f"get {key}: expected an object, got something else: {exc}") from exc

    async def apply(self, key: ObjectKey, value: Json, subresource: str = "") -> None:
        """Make an object be as `value` says, made if it is not there; its status through `status` alone.

        Raises:
            RefusedError, ApiError: as `read`.
        """
        path = f"{object_path(key)}/{subresource}" if subresource else object_path(key)
        # Forced: what somebody else has set meanwhile is damage to what is ours.
        query = {"fieldManager": self._manager, "force": "true"}
        await self._request("PATCH", path, f"apply {key}", value, query=query, media_type=_APPLY)

    async def merge(self, key: ObjectKey, value: Json, subresource: str = "") -> None:
        """Put fields into an object that is there, whole lists in the place of lists (RFC 7386).

        Raises:
            RefusedError, ApiError: as `read`.
        """
        path = f"{object_path(key)}/{subresource}" if subresource else object_path(key)
        query = {"fieldManager": self._manager}
        await self._request("PATCH", path, f"patch {key}", value, query=query, media_type=_MERGE)

    async def delete(self, key: ObjectKey, uid: str) -> None:
        """Delete the object of this identity at once; one that is not there is fine.

        Raises:
            RefusedError: the server said no; 409 if another object has the name now.
            ApiError: as `read`.
        """
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": uid},
        }
        try:
            await self._request("DELETE", object_path(key), f"delete {key}", options)
        except RefusedError as exc:
            if exc.code != httpx2.codes.NOT_FOUND:
                raise

    async def _request(
        self,
        method: str,
        path: str,
        name: str,
        body: Json | None = None,
        *,
        query: dict[str, str] | None = None,
        media_type: str = "application/json",
    ) -> bytes:
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"Content-Type": media_type}
        try:
            response = await self._client.request(
                method, path, params=query, content=content, headers=headers
            )
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as exc:
            # httpx's timeouts have no text of their own.
            raise ApiError(f"{name}: {str(exc) or type(exc).__name__}") from exc
        if not response.is_success:
            message = decode_status(response.content).message or response.reason_phrase
            raise RefusedError(name, response.status_code, message, None)
        return response.content


def object_path(key: ObjectKey) -> str:
    """Return the path of one object, without a leading slash."""
    prefix, _, plural = collection_path(key.kind).rpartition("/")
    where = "" if key.kind in CLUSTER_SCOPED else f"namespaces/{key.namespace}/"
    return f"{prefix}/{where}{plural}/{key.name}"
