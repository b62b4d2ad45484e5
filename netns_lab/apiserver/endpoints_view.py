"""Endpoints (core/v1) as a view: what the EndpointSlices of a Service say, in the older shape.

Nobody writes them; they are computed when they are asked for, for clients that know nothing newer, such as
`kubectl describe service` up to 1.30. Endpoints are of one family, the Service's first, and a pod that is
ending is in none of them (k8s.io/kubernetes/pkg/controller/endpoint).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

import msgspec

from netns_lab.apiserver.history import State
from netns_lab.apiserver.listing import Page
from netns_lab.apiserver.request_info import ListOptions, Target
from netns_lab.apiserver.resources import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from netns_lab.apiserver.selectors import build_matcher
from netns_lab.apiserver.wire import Item, Json, build_item, decode_object, encode_stored
from nodeplane.kube.objects import SERVICE_NAME_LABEL

_ADDRESS_FIELDS = ("hostname", "nodeName", "targetRef")
_COPIED_METADATA = ("name", "namespace", "labels", "creationTimestamp")


def read_endpoints(state: State, target: Target, options: ListOptions) -> Page:
    """Answer a LIST of Endpoints, always with the newest; one that has a name is a list of one.

    Raises:
        StatusError: 400, a selector is wrong.
    """
    matcher = build_matcher(ENDPOINTS, options.label_selector, options.field_selector)
    slices: defaultdict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in state.history(ENDPOINT_SLICES).items(target.namespace):
        slices[item.namespace, item.labels.get(SERVICE_NAME_LABEL, "")].append(item)
    found = []
    for item in state.history(SERVICES).items(target.namespace):
        if target.name in {"", item.name}:
            view = _build_item(item, slices[item.namespace, item.name])
            if view is not None and (matcher is None or matcher(view)):
                found.append(view)
    return Page(state.revision, found)


def _build_item(service: Item, slices: Sequence[Item]) -> Item | None:
    value = build_endpoints(
        decode_object(SERVICES, service), [decode_object(ENDPOINT_SLICES, item) for item in slices]
    )
    if value is None:
        return None
    revision = max(item.revision for item in (service, *slices))
    return build_item(service.namespace, service.name, revision, encode_stored(value))


def build_endpoints(service: Json, slices: Iterable[Json]) -> Json | None:
    """Return a Service's Endpoints; None when it has neither a selector nor slices."""
    spec = service["spec"]
    family = (spec.get("ipFamilies") or ["IPv4"])[0]
    subsets: dict[bytes, Json] = {}
    pieces = [piece for piece in slices if piece.get("addressType") == family]
    if spec.get("type") == "ExternalName" or not (pieces or spec.get("selector")):
        return None
    for piece in pieces:
        ports = piece.get("ports") or []
        # What has the same ports is one subset, whatever slices it is in.
        subset = subsets.setdefault(msgspec.json.encode(ports), {})
        for endpoint in piece.get("endpoints") or ():
            where = _list_of(endpoint.get("conditions") or {})
            if where:
                subset.setdefault(where, []).extend(_addresses(endpoint))
        if ports and subset:
            subset["ports"] = ports
    for subset in subsets.values():
        for where in ("addresses", "notReadyAddresses"):
            if where in subset:
                subset[where].sort(key=lambda entry: ip_address(entry["ip"]))
    metadata = {name: service["metadata"][name] for name in _COPIED_METADATA if name in service["metadata"]}
    found = [subset for _, subset in sorted(subsets.items()) if subset]
    return {"metadata": metadata, **({"subsets": found} if found else {})}


def _list_of(conditions: Json) -> str:
    # No condition means ready (discovery.k8s.io/v1 EndpointConditions).
    if conditions.get("ready") is not False:
        return "addresses"
    return "" if conditions.get("terminating") else "notReadyAddresses"


def _addresses(endpoint: Json) -> Iterable[Json]:
    more = {name: endpoint[name] for name in _ADDRESS_FIELDS if name in endpoint}
    return [{"ip": address, **more} for address in endpoint.get("addresses") or ()]
