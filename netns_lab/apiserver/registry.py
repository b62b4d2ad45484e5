"""What can be done to objects: create, update, delete, each from request to written version.

Decides in which order things are checked, assigned and written, and what is done again when another was
faster. What becomes of a single object is `strategy`'s; HTTP, selectors and formats are others'.
"""

from collections.abc import Callable

from netns_lab.apiserver.committer import Committer, StaleRevisionError
from netns_lab.apiserver.history import State
from netns_lab.apiserver.resources import NAMESPACES, RESOURCES, SERVICES, Resource
from netns_lab.apiserver.service_addresses import ServiceAddresses
from netns_lab.apiserver.shapes import check_shape
from netns_lab.apiserver.status import (
    StatusError,
    already_exists,
    bad_request,
    forbidden,
    invalid,
    not_found,
    required,
    too_large,
)
from netns_lab.apiserver.store import MAX_VALUE_BYTES
from netns_lab.apiserver.strategy import (
    DeleteOptions,
    check_identity,
    check_preconditions,
    content,
    generate_name,
    is_released,
    is_same,
    mark_deleted,
    prepare_create,
    prepare_update,
)
from netns_lab.apiserver.validation import check_object
from netns_lab.apiserver.wire import Item, Json, build_item, decode_object, encode_stored

_GENERATED_NAME_TRIES = 8
# The rest is for the marks of a deletion: what was created can go.
_MAX_OBJECT_BYTES = MAX_VALUE_BYTES - 1000
_PERMANENT_NAMESPACES = ("default", "kube-system", "kube-public")

Change = Callable[[Json], Json]
"""From the current version of an object to the wanted one; may be asked again when another was faster."""


class Registry:
    """The objects, as clients and controllers change them."""

    def __init__(self, state: State, committer: Committer, addresses: ServiceAddresses) -> None:
        self.state = state
        self._committer = committer
        self._addresses = addresses

    def get(self, resource: Resource, namespace: str, name: str) -> Item:
        """Return an object.

        Raises:
            StatusError: 404.
        """
        item = self.state.history(resource).get(namespace, name)
        if item is None:
            raise not_found(resource, name)
        return item

    async def create(self, resource: Resource, namespace: str, value: Json, *, dry_run: bool = False) -> Item:
        """Create an object; a name is made up when it has a `generateName` only.

        Raises:
            StatusError: 404 no such namespace, 409 the name is taken, 400, 413 and 422 the object is wrong.
        """
        metadata = check_identity(resource, namespace, value)
        if metadata.get("resourceVersion"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        if resource.namespaced and self.state.history(NAMESPACES).get("", namespace) is None:
            raise not_found(NAMESPACES, namespace)
        base = "" if metadata.get("name") else str(metadata.get("generateName") or "")
        if not base and not metadata.get("name"):
            raise invalid(resource, "", [required(("metadata", "name"), "name or generateName is required")])
        for left in reversed(range(_GENERATED_NAME_TRIES if base else 1)):
            name = metadata["name"] = generate_name(base) if base else metadata["name"]
            check_shape(resource, value)
            try:
                fresh = prepare_create(resource, value)
                return await self._write(resource, fresh, None, dry_run=dry_run)
            except StaleRevisionError:
                if not left:
                    raise already_exists(resource, name) from None
        raise AssertionError("the last try returns or raises")

    async def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Change,
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Item:
        """Replace an object by what `change` makes of it; a change that changes nothing writes nothing.

        A version in the wanted object must be the current one; without one, who is faster is built upon.

        Raises:
            StatusError: 404, 409 another version is current, 400, 413 and 422 the object is wrong.
        """
        while True:
            item = self.get(resource, namespace, name)
            old = decode_object(resource, item)
            wanted = change(decode_object(resource, item))
            check_identity(resource, namespace, wanted)
            revision = wanted["metadata"].get("resourceVersion")
            found = wanted["metadata"].setdefault("name", name)
            if found != name:
                raise bad_request(
                    f"the name of the object ({found}) does not match the name on the URL ({name})"
                )
            check_preconditions(resource, old, wanted["metadata"].get("uid"), revision)
            check_shape(resource, wanted)
            fresh = prepare_update(resource, old, wanted, subresource)
            try:
                return await self._write(resource, fresh, old, dry_run=dry_run)
            except StaleRevisionError:
                # Somebody was faster. What names its version fails on the way around, the rest is done again.
                continue

    async def delete(self, resource: Resource, namespace: str, name: str, options: DeleteOptions) -> Item:
        """Delete an object, or mark it as going where something has to happen first.

        Returns the last version. An object with finalizers, and a pod on a node that has a grace period, are
        marked; a namespace takes its objects with it.

        Raises:
            StatusError: 403, 404, 409 a precondition does not hold.
        """
        if resource is NAMESPACES and name in _PERMANENT_NAMESPACES:
            raise forbidden(resource, name, "this namespace may not be deleted")
        while True:
            item = self.get(resource, namespace, name)
            old = decode_object(resource, item)
            check_preconditions(resource, old, options.uid, options.resource_version)
            if options.dry_run:
                return item
            marked = mark_deleted(resource, old, options)
            try:
                if marked is not None:
                    return await self._write(resource, marked, old)
                if resource is NAMESPACES:
                    await self._empty_namespace(name)
                    item = self.get(resource, namespace, name)
                await self._committer.commit(resource, namespace, name, expected=item.revision, value=None)
            except StaleRevisionError:
                continue
            return item

    async def _write(
        self, resource: Resource, fresh: Json, old: Json | None, *, dry_run: bool = False
    ) -> Item:
        """Write a version made from `old`, whose revision it carries.

        Raises:
            StaleRevisionError: `old` is not the current version.
            StatusError: 413 the version is too large, 422 it is wrong.
        """
        if resource is not SERVICES:
            return await self._commit(resource, fresh, old, dry_run=dry_run)
        with self._addresses.assigned(fresh, old, dry_run=dry_run):
            return await self._commit(resource, fresh, old, dry_run=dry_run)

    async def _commit(self, resource: Resource, fresh: Json, old: Json | None, *, dry_run: bool) -> Item:
        namespace, name = fresh["metadata"].get("namespace", ""), fresh["metadata"]["name"]
        expected = int(old["metadata"]["resourceVersion"]) if old is not None else 0
        check_object(resource, fresh, old)
        current = self.state.history(resource).get(namespace, name)
        if current is not None and current.revision == expected and old is not None and is_same(fresh, old):
            return current
        if resource.has_generation and old is not None and content(fresh) != content(old):
            fresh["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
        if old is not None and is_released(fresh):
            await self._committer.commit(resource, namespace, name, expected=expected, value=None)
            return build_item(namespace, name, expected, encode_stored(fresh))
        stored = encode_stored(fresh)
        limit = MAX_VALUE_BYTES if "deletionTimestamp" in fresh["metadata"] else _MAX_OBJECT_BYTES
        if len(stored) > limit:
            raise too_large(f"the object has {len(stored)} bytes, limit is {limit}")
        if dry_run:
            if (0 if current is None else current.revision) != expected:
                raise StaleRevisionError(name)
            return build_item(namespace, name, expected, stored)
        event = await self._committer.commit(resource, namespace, name, expected=expected, value=stored)
        if event.new is None:
            raise AssertionError("a written value is a version")
        return event.new

    async def _empty_namespace(self, namespace: str) -> None:
        """Delete what a namespace holds (the namespace controller's part)."""
        options = DeleteOptions(grace_period_s=0)
        for resource in RESOURCES:
            if not resource.namespaced:
                continue
            for item in self.state.history(resource).items(namespace):
                try:
                    await self.delete(resource, namespace, item.name, options)
                except StatusError as exc:
                    if exc.code != 404:
                        raise
