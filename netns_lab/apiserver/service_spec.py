"""What a Service keeps from its last version, and which families it gets: pure.

It follows k8s.io/kubernetes/pkg/registry/core/service (patchAllocatedValues, initIPFamilyFields).
"""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from netns_lab.apiserver.status import Cause, invalid_value, not_allowed
from netns_lab.apiserver.wire import Json

HEADLESS = "None"
"""The `clusterIP` of a Service without an address of its own."""


def carry_over(spec: Json, before: Json) -> None:
    """Keep what the Service has already and its new version leaves out (patchAllocatedValues)."""
    _carry_addresses(spec, before)
    kept = {(port["protocol"], port["port"]): port.get("nodePort") for port in before.get("ports") or ()}
    if spec["type"] == "ClusterIP":
        if before.get("type") in {"NodePort", "LoadBalancer"}:
            # What belongs to the type goes with it (dropTypeDependentFields).
            spec.pop("externalTrafficPolicy", None)
            spec.pop("allocateLoadBalancerNodePorts", None)
            for port in spec.get("ports") or ():
                if port.get("nodePort") in kept.values():
                    port.pop("nodePort", None)
        return
    for port in spec.get("ports") or ():
        number = kept.get((port["protocol"], port.get("port")))
        if number and not port.get("nodePort"):
            port["nodePort"] = number
    if before.get("healthCheckNodePort") and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = before["healthCheckNodePort"]


def _carry_addresses(spec: Json, before: Json) -> None:
    address, addresses = spec.get("clusterIP"), spec.get("clusterIPs")
    if before and not address and not addresses:
        spec["clusterIP"], spec["clusterIPs"] = before.get("clusterIP"), list(before.get("clusterIPs") or ())
    elif address and (not addresses or (before and addresses == before.get("clusterIPs"))):
        # Who changes the old field alone means both (normalizeClusterIPs).
        rest = addresses[1:] if addresses and address == before.get("clusterIP") else []
        spec["clusterIPs"] = [address, *rest]
    elif addresses and not address:
        spec["clusterIP"] = addresses[0]
    for name in ("ipFamilies", "ipFamilyPolicy"):
        if before.get(name) and not spec.get(name):
            spec[name] = before[name]
    if spec.get("ipFamilyPolicy") == "SingleStack" and before.get("ipFamilyPolicy") not in (
        None,
        "SingleStack",
    ):
        # From two families to one: the second address goes.
        spec["ipFamilies"] = spec["ipFamilies"][:1]
        spec["clusterIPs"] = (spec.get("clusterIPs") or [])[:1]


def node_port_causes(spec: Json) -> Iterator[Cause]:
    """Yield what is wrong with the node ports of a Service whose type has none."""
    if spec["type"] != "ClusterIP":
        return
    for index, port in enumerate(spec.get("ports") or ()):
        if port.get("nodePort"):
            path = ("spec", "ports", index, "nodePort")
            yield not_allowed(path, "may not be used when `type` is 'ClusterIP'")


def assign_families(spec: Json, configured: Sequence[str]) -> Iterator[Cause]:
    """Decide `ipFamilies` and `ipFamilyPolicy`, in place (KEP-563); yield what is wrong with them."""
    headless = spec.get("clusterIP") == HEADLESS
    asked = list(spec.get("ipFamilies") or [])
    if not asked and not headless:
        asked = [
            f"IPv{ip_address(text).version}" for text in spec.get("clusterIPs") or () if is_address(text)
        ]
    free_form = headless and not spec.get("selector")
    policy = spec.get("ipFamilyPolicy")
    if policy is None:
        policy = "RequireDualStack" if len(asked) > 1 or free_form else "SingleStack"
    spec["ipFamilyPolicy"] = policy
    if not free_form:
        for index, family in enumerate(asked):
            if family not in configured:
                yield invalid_value(("spec", "ipFamilies", index), family, "not configured on this cluster")
        if policy == "RequireDualStack" and len(configured) < 2:
            detail = "this cluster is not configured for dual-stack services"
            yield invalid_value(("spec", "ipFamilyPolicy"), policy, detail)
    if policy == "SingleStack":
        if len(asked) > 1:
            detail = (
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple 'ipFamilies' are specified"
            )
            yield invalid_value(("spec", "ipFamilyPolicy"), policy, detail)
        spec["ipFamilies"] = asked or [configured[0]]
    else:
        every = ("IPv4", "IPv6") if free_form else configured
        asked = asked or [configured[0]]
        spec["ipFamilies"] = [*asked, *(family for family in every if family not in asked)]


def is_address(text: object) -> bool:
    """Say whether a text is an IP address."""
    try:
        ip_address(str(text))
    except ValueError:
        return False
    return True
