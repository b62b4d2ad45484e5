"""What the loader refuses of deployments, external clients and links: one line each, where it was written."""

from pathlib import Path

import pytest

from netns_lab.loader import read_lab
from nodeplane.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    """Write a topology file."""
    file = folder / "lab.yaml"
    file.write_text(f"name: lab\nnodes: [{{name: n1}}, {{name: n2}}]\n{text}\n")
    return file


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param(
            "clients: [{name: n1}]",
            "3: clients[0].name: expected each node once, got 'n1'",
            id="taken",
        ),
        pytest.param(
            "clients: [{name: c, segment: x}]",
            "3: clients[0].segment: expected the name of a segment, got 'x'",
            id="no such segment",
        ),
        pytest.param(
            "clients: [{name: c, address: 10.9.9.9}]",
            "3: clients[0].address: expected a host's address in segment 172.30.0.0/24, got '10.9.9.9'",
            id="an address elsewhere",
        ),
        pytest.param(
            "clients: [{name: c, routes: [{to: 10.96.0.0/16, via: 10.1.1.1}]}]",
            "3: clients[0].routes[0].via: expected an IPv4 address on the client's segment, got '10.1.1.1'",
            id="a next hop elsewhere",
        ),
        pytest.param(
            "clients: [{name: c, address: 172.30.0.9, routes: [{to: 10.96.0.0/16, via: 172.30.0.9}]}]",
            "3: clients[0].routes[0].via: expected another host's address, this one is its own, "
            "got '172.30.0.9'",
            id="a next hop that is oneself",
        ),
        pytest.param(
            "clients: [{name: c, routes: [{to: 10.96.0.1/16, via: 172.30.0.2}]}]",
            "3: clients[0].routes[0].to: expected a network such as 10.1.0.0/16 or ::/0, host bits zero, "
            "got '10.96.0.1/16'",
            id="host bits",
        ),
        pytest.param(
            "network: {segment: 172.30.0.0/30}\nclients: [{name: c}]",
            "3: network.segment: expected room for 4 addresses, got '172.30.0.0/30'",
            id="no room",
        ),
        pytest.param(
            "deployments: [{name: web, replicas: 1, nodes: [n9]}]",
            "3: deployments[0].nodes: expected the name of a node",
            id="no such node",
        ),
        pytest.param(
            "deployments: [{name: web, replicas: -1}]",
            "3: deployments[0].replicas: expected `int` >= 0, got '-1'",
            id="fewer than none",
        ),
        pytest.param(
            "deployments: [{name: web, replicas: 1000000000}]",
            "3: deployments[0].replicas: expected `int` <= 10000, got '1000000000'",
            id="more than any machine has",
        ),
        pytest.param(
            "pods: [{name: web-1, node: n1}]\ndeployments: [{name: web, replicas: 1}]",
            "4: deployments[0].name: expected each pod once, default/web-1 is here twice, got 'web'",
            id="a pod of a replica's name",
        ),
        pytest.param(
            "deployments: [{name: web, replicas: 0}, {name: web, replicas: 0}]",
            "3: deployments[1].name: expected each deployment once, got 'web'",
            id="two of one name",
        ),
        pytest.param(
            "pods: [{name: p, node: n1, link: {rate: 10}}]",
            "3: pods[0].link.rate: expected `str`, got `int`",
            id="a rate without a unit",
        ),
        pytest.param(
            "pods: [{name: p, node: n1, link: {rate: fast}}]",
            "3: pods[0].link.rate: expected a rate such as 64kbit, 10mbit or 1.5gbit, from 8bit to "
            "1000000gbit, "
            "got 'fast'",
            id="no rate",
        ),
        pytest.param(
            "pods: [{name: p, node: n1, link: {loss: 101}}]",
            "3: pods[0].link.loss: expected `float` <= 100.0, got '101'",
            id="more than all",
        ),
        pytest.param(
            "pods: [{name: p, node: n1, link: {jitter: 1ms}}]",
            "3: pods[0].link.jitter: expected only with a delay, got '1ms'",
            id="jitter of nothing",
        ),
        pytest.param(
            "network: {proxyMode: iptables}",
            "3: network.proxyMode: expected one of auto, ipvs, nftables, got 'iptables'",
            id="no such proxy mode",
        ),
    ],
)
def test_refused(text: str, line: str, tmp_path: Path) -> None:
    file = write(tmp_path, text)

    with pytest.raises(ConfigError) as caught:
        read_lab(file)

    assert str(caught.value) == f"{file}:{line}"


def test_deployments_are_pods(tmp_path: Path) -> None:
    topology = read_lab(write(tmp_path, "deployments: [{name: web, replicas: 3}]")).topology

    assert [pod.key for pod in topology.pods] == ["default/web-1", "default/web-2", "default/web-3"]
    assert topology.deployments == ()
