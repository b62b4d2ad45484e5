"""Bad topologies: each is one line that names file, line, field and what is expected."""

from pathlib import Path

import pytest

from netns_lab.loader import read_lab
from nodeplane.errors import ConfigError

NODES = "nodes: [{name: n1}, {name: n2}]\n"
HEAD = f"name: lab\n{NODES}"
WEB = """\
manifests:
  - kind: Service
    apiVersion: v1
    metadata: {name: web}
    spec:
      ports:
        - port: 80
"""
LABEL = "expected a DNS label (up to 63 lower case letters, digits, '-')"
KEY = "expected a key such as app or example.com/app (up to 63 letters, digits, '-', '_', '.')"
VALUE = "expected a label's value (up to 63 letters, digits, '-', '_', '.')"
LAB_NAME = "expected up to 20 lower case letters and digits, a letter first"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("name: [", "2: expected YAML: did not find expected node content", id="not YAML"),
        pytest.param("name: lab\n---\nname: lab\n", " expected one YAML document, got 2", id="two documents"),
        pytest.param("name: lab\n", "1: nodes: expected a value", id="no nodes field"),
        pytest.param("name: lab\nnodes: []\n", "2: nodes: expected at least one node", id="no node"),
        pytest.param(f"{HEAD}podz: []\n", "3: podz: expected no such field", id="unknown field"),
        pytest.param(f"name: my-lab\n{NODES}", f"1: name: {LAB_NAME}, got 'my-lab'", id="name of the lab"),
        pytest.param(
            "name: lab\nnodes:\n  - name: n1\n  - name: n1\n",
            "4: nodes[1].name: expected each node once, got 'n1'",
            id="two nodes of one name",
        ),
        pytest.param(
            "name: lab\nnodes:\n  - name: N_1\n", f"3: nodes[0].name: {LABEL}, got 'N_1'", id="name of a node"
        ),
        pytest.param(
            "name: lab\nnodes:\n  - name: fabric\n",
            "3: nodes[0].name: expected another name, this one is the segment's, got 'fabric'",
            id="the segment's name",
        ),
        pytest.param(
            f"{HEAD}network:\n  podPool: 10.0.0.0/16,fd00::1/64\n",
            "4: network.podPool: expected an IPv4 and an IPv6 network such as 10.0.0.0/16,fd00::/48, "
            "host bits zero, got '10.0.0.0/16,fd00::1/64'",
            id="host bits of the second family",
        ),
        pytest.param(
            f"{HEAD}network:\n  podPool: fd00::/64,10.0.0.0/16\n",
            "4: network.podPool: expected an IPv4 and an IPv6 network such as 10.0.0.0/16,fd00::/48, "
            "host bits zero, got 'fd00::/64,10.0.0.0/16'",
            id="the families the other way round",
        ),
        pytest.param(
            f"{HEAD}network:\n  podPool: 10.0.0.0/16,fe80::/64\n",
            "4: network.podPool: expected a network apart from fe80::/10 (link-local addresses), "
            "got '10.0.0.0/16,fe80::/64'",
            id="link-local",
        ),
        pytest.param(
            f"{HEAD}network:\n  podPool: 10.0.0.0/16,fd00::/122\n  blockSize6: 120\n",
            "5: network.blockSize6: expected at least the pool's prefix length 122, got '120'",
            id="block larger than the IPv6 pool",
        ),
        pytest.param(
            f"{HEAD}network:\n  podPool: 10.0.0.0/16,fd00::/64\n",
            "4: network.segment: expected an IPv4 and an IPv6 network, podPool has both",
            id="pods of a family that the nodes lack",
        ),
        pytest.param(
            f"{HEAD}network: {{mode: ipip}}\n",
            "3: network.mode: expected one of bgp, cross-subnet, direct, vxlan, got 'ipip'",
            id="mode",
        ),
        pytest.param(
            "name: lab\nnodes:\n  - name: n1\n    address: 10.9.9.9\n",
            "4: nodes[0].address: expected a host's address in segment 172.30.0.0/24, got '10.9.9.9'",
            id="address outside of the segment",
        ),
        pytest.param(
            "name: lab\nnodes:\n  - name: n1\n    address: 172.30.0.255\n",
            "4: nodes[0].address: expected a host's address in segment 172.30.0.0/24, got '172.30.0.255'",
            id="broadcast address",
        ),
        pytest.param(
            "name: lab\nnodes:\n  - name: n1\n    address: 172.30.0.1\n",
            "4: nodes[0].address: expected another address, 172.30.0.1 is the segment's gateway, "
            "got '172.30.0.1'",
            id="gateway's address",
        ),
        pytest.param(
            "name: lab\nnodes:\n  - {name: n1, address: 172.30.0.7}\n  - {name: n2, address: 172.30.0.7}\n",
            "4: nodes[1].address: expected each address once, got '172.30.0.7'",
            id="address twice",
        ),
        pytest.param(
            f"{HEAD}network:\n  segment: 10.0.0.0/30\n",
            "4: network.segment: expected room for 2 nodes and a gateway, got '10.0.0.0/30'",
            id="segment too small",
        ),
        pytest.param(
            f"{HEAD}network:\n  segment: 10.0.0.1/24\n",
            "4: network.segment: expected an IPv4 network such as 10.0.0.0/16, host bits zero, "
            "got '10.0.0.1/24'",
            id="host bits",
        ),
        *(
            pytest.param(
                f"{HEAD}network:\n  {field}: {network}\n",
                f"4: network.{field}: expected a network apart from {apart}, got '{network}'",
                id=f"{field} {network}",
            )
            for field in ("segment", "podPool")
            for network, apart in (
                ("0.0.0.0/8", "0.0.0.0/8 (this host's addresses)"),
                ("127.0.0.0/8", "127.0.0.0/8 (loopback addresses)"),
                ("169.254.0.0/16", "169.254.0.0/16 (link-local addresses)"),
                ("239.0.0.0/16", "224.0.0.0/4 (multicast addresses)"),
            )
        ),
        pytest.param(
            f"{HEAD}network:\n  podPool: 172.16.0.0/12\n",
            "4: network.podPool: expected a network apart from segment 172.30.0.0/24, got '172.16.0.0/12'",
            id="overlapping networks",
        ),
        pytest.param(
            f"{HEAD}network:\n  podPool: 10.0.0.0/27\n",
            "4: network.blockSize: expected at least the pool's prefix length 27",
            id="block larger than the pool",
        ),
        pytest.param(
            f"{HEAD}network:\n  clusterDNS: 10.97.0.10\n",
            "4: network.clusterDNS: expected an IPv4 address in serviceCIDR 10.96.0.0/16, got '10.97.0.10'",
            id="cluster DNS elsewhere",
        ),
        pytest.param(
            f"{HEAD}network:\n  clusterDomain: cluster.local.\n",
            "4: network.clusterDomain: expected a DNS name in lower case without a final dot, "
            "got 'cluster.local.'",
            id="cluster domain",
        ),
        pytest.param(
            f"{HEAD}pods:\n  - name: web\n    node: n3\n",
            "5: pods[0].node: expected the name of a node, got 'n3'",
            id="pod on an unknown node",
        ),
        pytest.param(
            f"{HEAD}pods:\n  - {{name: web, node: n1}}\n  - {{name: web, node: n2}}\n",
            "5: pods[1].name: expected each pod once, default/web is here twice, got 'web'",
            id="pod twice",
        ),
        pytest.param(
            f"{HEAD}pods:\n"
            "  - {name: b-c, namespace: a, node: n1}\n"
            "  - {name: c, namespace: a-b, node: n1}\n",
            "5: pods[1].name: expected a name whose nl-lab-pod-a-b-c is free, got 'c'",
            id="two pods, one namespace name",
        ),
        pytest.param(
            f"{HEAD}pods:\n  - name: web\n    node: n1\n    ports:\n      - port: 99999\n",
            "7: pods[0].ports[0].port: expected `int` <= 65535, got '99999'",
            id="port of a pod",
        ),
        pytest.param(
            f"{HEAD}pods:\n  - name: job\n    node: n1\n    command: ['', a]\n",
            "6: pods[0].command[0]: expected a program, got ''",
            id="command without a program",
        ),
        pytest.param(
            f'{HEAD}pods:\n  - name: job\n    node: n1\n    command: [a, "b\\0"]\n',
            "6: pods[0].command[1]: expected a word without a NUL character, got 'b\\x00'",
            id="NUL in a command",
        ),
        pytest.param(
            f"{HEAD}pods:\n  - name: web\n    node: n1\n    ports: [{{port: 1}}, {{port: 1}}]\n",
            "6: pods[0].ports[1].port: expected each protocol and port once, got '1'",
            id="port twice",
        ),
        pytest.param(
            f"{HEAD}pods:\n"
            "  - name: web\n"
            "    node: n1\n"
            "    ports: [{port: 1, name: a}, {port: 2, name: a}]\n",
            "6: pods[0].ports[1].name: expected each port name once, got 'a'",
            id="port name twice",
        ),
        pytest.param(
            f"{HEAD}network:\n  clusterDNS: 10.96.0.1\n",
            "4: network.clusterDNS: expected another address, 10.96.0.1 is the API server's, got '10.96.0.1'",
            id="cluster DNS there too",
        ),
        pytest.param(
            f"{HEAD}network:\n  podPool: 10.0.0.0/30\n  blockSize: 30\n",
            "4: network.podPool: expected a network of 8 addresses or more, got '10.0.0.0/30'",
            id="a range that no API server takes",
        ),
        pytest.param(
            f"{HEAD}network: {{serviceCIDR: 10.0.0.0/29, clusterDNS: 10.0.0.2}}\n"
            + WEB
            + "".join(WEB.removeprefix("manifests:\n").replace("web", name) for name in ("b", "c", "d", "e")),
            "3: network.serviceCIDR: expected room for 5 Services, got '10.0.0.0/29'",
            id="more services than addresses",
        ),
        pytest.param(
            "name: lab\nnodes:\n  - name: n1\n    labels: {a: -b}\n",
            f"4: nodes[0].labels.a: {VALUE}, got '-b'",
            id="label of a node",
        ),
        pytest.param(
            "name: lab\nnodes:\n  - name: n1\n    zone: eu 1\n",
            f"4: nodes[0].zone: {VALUE}, got 'eu 1'",
            id="zone of a node",
        ),
        pytest.param(
            f"{HEAD}pods:\n  - name: web\n    node: n1\n    labels: {{a/b/c: d}}\n",
            f"6: pods[0].labels.a/b/c: {KEY}, got 'd'",
            id="label of a pod",
        ),
    ],
)
def test_refused(text: str, error: str, tmp_path: Path) -> None:
    """Errors start with the place; what follows the file's name is compared whole."""
    path = tmp_path / "lab.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        read_lab(path)

    assert str(caught.value) == f"{path}:{error}"
