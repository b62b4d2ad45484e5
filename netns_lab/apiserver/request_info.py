"""What a request is about: resource, namespace, name and options, read from its URL.

Follows k8s.io/apiserver/pkg/endpoints/request.RequestInfo and metav1.ListOptions.
"""

from collections.abc import Mapping

import msgspec

from netns_lab.apiserver.resources import BY_PATH, Resource
from netns_lab.apiserver.status import Cause, StatusError, bad_request, no_such_path


class Target(msgspec.Struct, frozen=True):
    """The object (with a name) or collection (without) that a URL names."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def parse_path(path: str) -> Target:
    """Read the path of a resource.

    Raises:
        StatusError: 404, no resource of ours has this path.
    """
    match [part for part in path.split("/") if part]:
        case ["api", version, *rest]:
            group = ""
        case ["apis", group, version, *rest]:
            pass
        case _:
            raise no_such_path()
    namespace = ""
    match rest:
        # A capture stays bound when its guard fails: hence another name.
        case ["namespaces", inside, plural, *names] if plural not in {"status", "finalize"}:
            namespace = inside
        case [plural, *names]:
            pass
        case _:
            raise no_such_path()
    resource = BY_PATH.get((group, version, plural))
    if resource is None or (namespace and not resource.namespaced) or len(names) > 2:
        raise no_such_path()
    if resource.namespaced and names and not namespace:
        raise no_such_path()
    name, subresource = (*names, "", "")[:2]
    if subresource and not (subresource == "status" and resource.has_status):
        raise no_such_path()
    return Target(resource, namespace, name, subresource)


class ListOptions(msgspec.Struct, frozen=True):
    """What a list or a watch asks for (metav1.ListOptions); an absent revision is None."""

    watch: bool = False
    label_selector: str = ""
    field_selector: str = ""
    resource_version: int | None = None
    match: str = ""
    limit: int = 0
    continue_token: str = ""
    timeout_s: float | None = None
    bookmarks: bool = False
    initial_events: bool | None = None


def parse_list_options(query: Mapping[str, str], target: Target) -> ListOptions:
    """Read the options of a list or a watch; a list of one named object is a list with a field selector.

    Raises:
        StatusError: 400 a value can't be read, 422 the options don't go together.
    """
    field_selector = query.get("fieldSelector", "")
    if target.name:
        field_selector = ",".join(filter(None, (f"metadata.name={target.name}", field_selector)))
    timeout_s = _number(query, "timeoutSeconds")
    options = ListOptions(
        watch=parse_flag(query, "watch") or False,
        label_selector=query.get("labelSelector", ""),
        field_selector=field_selector,
        resource_version=_number(query, "resourceVersion"),
        match=query.get("resourceVersionMatch", ""),
        limit=_number(query, "limit") or 0,
        continue_token=query.get("continue", ""),
        timeout_s=float(timeout_s) if timeout_s else None,
        bookmarks=parse_flag(query, "allowWatchBookmarks") or False,
        initial_events=parse_flag(query, "sendInitialEvents"),
    )
    _check(options)
    return options


def parse_flag(query: Mapping[str, str], name: str) -> bool | None:
    """Read a boolean of a query; None when it is absent."""
    text = query.get(name)
    if text is None or text == "":
        return None
    # strconv.ParseBool, as conversion of url.Values does.
    if text in {"1", "t", "T", "true", "TRUE", "True"}:
        return True
    if text in {"0", "f", "F", "false", "FALSE", "False"}:
        return False
    raise bad_request(f"{name}: expected true or false, not {text!r}")


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise bad_request(f"{name}: Invalid value: {text!r}: expected a whole number of at least 0")
    return int(text)


def _check(options: ListOptions) -> None:
    """Refuse options that contradict each other (metav1 validation.ValidateListOptions)."""
    causes = []
    if options.initial_events is not None:
        if not options.watch:
            causes.append(("sendInitialEvents", "sendInitialEvents is forbidden for list"))
        elif options.match != "NotOlderThan":
            detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            causes.append(("resourceVersionMatch", detail))
        elif options.initial_events and not options.bookmarks:
            causes.append(
                ("allowWatchBookmarks", "sendInitialEvents requires setting allowWatchBookmarks to true")
            )
    elif options.match and options.watch:
        detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        causes.append(("resourceVersionMatch", detail))
    elif options.match and options.continue_token:
        causes.append(("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"))
    elif options.match and options.resource_version is None:
        detail = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        causes.append(("resourceVersionMatch", detail))
    elif options.match == "Exact" and options.resource_version == 0:
        detail = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        causes.append(("resourceVersionMatch", detail))
    if options.continue_token and options.resource_version:
        detail = "specifying resource version is not allowed when using continue"
        raise bad_request(detail)
    if causes:
        found = [Cause("FieldValueForbidden", f"Forbidden: {detail}", field) for field, detail in causes]
        joined = ", ".join(f"{cause.field}: {cause.message}" for cause in found)
        details = {
            "group": "meta.k8s.io",
            "kind": "ListOptions",
            "causes": [msgspec.to_builtins(cause) for cause in found],
        }
        raise StatusError(422, "Invalid", f'ListOptions.meta.k8s.io "" is invalid: {joined}', details)
