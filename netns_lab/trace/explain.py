"""Why a rule has ended the packet, in the words of Services and pods. Pure.

The rule says what it looked for; which Service that was about, and what it lacks, the lab's objects say.
"""

from netns_lab.impairments.rules import TABLE as IMPAIRMENTS
from netns_lab.trace.case import Case, reasons
from netns_lab.trace.facts import Frontend
from netns_lab.trace.passage import Passage, Section

KUBEPROXY_TABLE = "nodeplane-kubeproxy"
_SOURCE_CHECK = ("nodeplane-cni", "source-check")


def explain_drop(case: Case, passage: Passage, section: Section) -> str:
    """Say why a base chain has dropped the packet."""
    where, ends = case.facts.place(passage.namespace), section.head.ends
    if section.table == KUBEPROXY_TABLE:
        frontend = case.facts.frontend(ends.destination, case.target.protocol, ends.destination_port)
        words = _explain_service(case, passage, frontend) if frontend else ""
        if not frontend and case.facts.service_of(ends.destination) is None:
            words = f"no Service has the address {ends.destination}"
        if words:
            return f"dropped by kubeproxy of {where}: {words}"
    if section.table == IMPAIRMENTS:
        return f"dropped in {where} by a fault or an impairment of the lab's own, chain {section.chain}"
    if (section.table, section.chain) == _SOURCE_CHECK:
        came = passage.came.link if passage.came else "?"
        return f"dropped by the source check of {where}: {ends.source} is no address of the pod behind {came}"
    why = reasons(case, passage.namespace, section)
    rule = why[-1] if why else "its policy"
    place = f"{section.family} table {section.table}, chain {section.chain}"
    return f"dropped in {where}, {place}: {rule}"


def explain_refusal(case: Case, asked: Passage) -> str:
    """Say why kubeproxy has refused the packet; nothing if that is not to be seen."""
    ends = asked.first.ends
    frontend = case.facts.frontend(ends.destination, case.target.protocol, ends.destination_port)
    if frontend is not None:
        return _explain_service(case, asked, frontend)
    service = case.facts.service_of(ends.destination)
    if service is None:
        return ""
    return f"{service} has no {case.target.protocol} port {ends.destination_port}"


def _explain_service(case: Case, passage: Passage, frontend: Frontend) -> str:
    """Say what of a Service keeps a packet from its endpoints; nothing if that is not to be seen."""
    ends, where = passage.first.ends, case.facts.place(passage.namespace)
    is_external = ends.destination not in frontend.cluster_ips
    is_ranged = ends.destination in frontend.external and frontend.ranges
    if is_ranged and not any(ends.source in network for network in frontend.ranges):
        ranges = ", ".join(map(str, frontend.ranges))
        return f"source {ends.source} is not in loadBalancerSourceRanges ({ranges}) of {frontend.service}"
    ready = [backend for backend in frontend.backends if backend.is_ready]
    if not ready:
        return f"no ready endpoints for {frontend.service}"
    if not any(f"node {backend.node}" == where for backend in ready):
        if is_external and frontend.is_local:
            return f"externalTrafficPolicy Local and no local endpoint on {where} for {frontend.service}"
        if not is_external and frontend.is_internally_local:
            return f"internalTrafficPolicy Local and no local endpoint on {where} for {frontend.service}"
    return ""
