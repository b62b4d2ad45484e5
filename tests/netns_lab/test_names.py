"""Names: what a lab owns is told by its name, and two labs never share one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netns_lab.names import fabric_namespace, lab_of, node_namespace, pod_namespace, port_link
from netns_lab.topology import PodSpec

LABS = st.from_regex(r"[a-z][a-z0-9]{0,19}", fullmatch=True)
LABELS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize(
    ("namespace", "lab"),
    [
        pytest.param("nl-demo-n1", "demo", id="node"),
        pytest.param("nl-demo-pod-default-web-1", "demo", id="pod"),
        pytest.param("nl-demo", None, id="no part behind the lab"),
        pytest.param("nl--n1", None, id="no lab"),
        pytest.param("demo-n1", None, id="other prefix"),
        pytest.param("nl-De/mo-n1", None, id="no lab's name"),
    ],
)
def test_lab_of(namespace: str, lab: str | None) -> None:
    assert lab_of(namespace) == lab


@settings(deadline=None)
@given(LABS, LABELS, LABELS)
def test_every_namespace_is_of_its_lab(lab: str, first: str, second: str) -> None:
    names = [
        fabric_namespace(lab),
        node_namespace(lab, first),
        pod_namespace(lab, PodSpec(second, "n1", first)),
    ]

    assert [lab_of(name) for name in names] == [lab, lab, lab]


@settings(deadline=None)
@given(st.lists(LABELS, unique=True))
def test_ports_fit_and_differ(nodes: list[str]) -> None:
    links = {port_link(node) for node in nodes}

    assert len(links) == len(nodes)
    assert all(len(link) <= 15 for link in links)
