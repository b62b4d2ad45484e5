"""What a ServiceCIDR may say (networking.k8s.io/v1, KEP-1880; k8s.io/kubernetes/pkg/apis/networking)."""

from collections.abc import Iterator
from ipaddress import ip_network

from netns_lab.apiserver.status import Cause, invalid_value, required
from netns_lab.apiserver.wire import Json

_MOST = 2


def service_cidr_causes(spec: Json) -> Iterator[Cause]:
    """Yield what is wrong with a ServiceCIDR's spec: one CIDR, or one of each family."""
    cidrs = spec.get("cidrs") or []
    if not cidrs:
        yield required(("spec", "cidrs"), "at least one CIDR required")
    if len(cidrs) > _MOST:
        yield invalid_value(("spec", "cidrs"), cidrs, "may only hold up to 2 values")
        return
    versions = []
    for index, text in enumerate(cidrs):
        try:
            network = ip_network(text)
        except ValueError:
            detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            yield invalid_value(("spec", "cidrs", index), text, detail)
            continue
        if text != str(network):
            yield invalid_value(("spec", "cidrs", index), text, f"must be in canonical form ({network})")
        versions.append(network.version)
    if len(versions) == _MOST and len(set(versions)) < _MOST:
        yield invalid_value(("spec", "cidrs"), cidrs, "may specify no more than one IP for each IP family")


def service_cidr_change_causes(new: Json, old: Json) -> Iterator[Cause]:
    """Yield what is wrong with a change: a range stays, a second one of the other family may be added."""
    before, after = old.get("cidrs") or [], new.get("cidrs") or []
    if before != after and (len(before) > 1 or after[: len(before)] != before):
        yield invalid_value(("spec", "cidrs"), after, "field is immutable")
