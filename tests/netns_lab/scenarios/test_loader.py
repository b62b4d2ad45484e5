"""The scenario file: examples are right, mistakes are one line."""

import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import yaml

from netns_lab.scenarios.loader import read_scenario
from netns_lab.scenarios.runner import title
from netns_lab.scenarios.scenario import scenario_schema
from nodeplane.errors import ConfigError

EXAMPLES = sorted(Path(__file__).parents[3].joinpath("examples/scenarios").glob("*.yaml"))

TOPOLOGY = """
topology:
  name: lab
  nodes: [{name: n1}, {name: n2}]
  pods: [{name: client, node: n1}]
"""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), scenario_schema())
    loaded = read_scenario(path)

    assert loaded.scenario.name == path.stem
    assert all(title(step) for step in loaded.scenario.steps)


def test_published_schema_is_the_one_of_the_structs() -> None:
    """Renew it with `netns-lab schema scenario > netns_lab/scenarios/scenario.schema.json`."""
    published = json.loads(files("netns_lab.scenarios").joinpath("scenario.schema.json").read_text())

    assert published == json.loads(json.dumps(scenario_schema()))


def write(folder: Path, steps: str, topology: str = TOPOLOGY) -> Path:
    file = folder / "scenario.yaml"
    file.write_text(f"name: test\n{topology.strip()}\nsteps:\n{steps}\n")
    return file


@pytest.mark.parametrize(
    ("steps", "line"),
    [
        pytest.param(
            "- {}",
            "7: steps[0]: expected one of apply, delete, fault, clear, traffic, stop, probe, run, expect",
            id="nothing to do",
        ),
        pytest.param(
            "- {clear: true, stop: x}",
            "7: steps[0]: expected one of apply, delete, fault, clear, traffic, stop, probe, run, expect",
            id="two things to do",
        ),
        pytest.param(
            "- {probe: {from: nobody, to: 'http://web/'}}",
            "7: steps[0].probe.from: expected the name of one node or pod: n1, n2, default/client, "
            "got 'nobody'",
            id="from nowhere",
        ),
        pytest.param(
            "- {probe: {from: client, to: web}}",
            "7: steps[0].probe.to: expected http://HOST[:PORT][/PATH], or tcp://, udp:// or "
            "sctp://HOST:PORT, got 'web'",
            id="to nowhere",
        ),
        pytest.param(
            "- {probe: {from: client, to: 'http://web/', source: here}}",
            "7: steps[0].probe.source: expected an address or a network, got 'here'",
            id="no source",
        ),
        pytest.param(
            "- {traffic: {name: ../users, from: client, to: 'http://web/'}}",
            "7: steps[0].traffic.name: expected lower case letters, digits, '-', got '../users'",
            id="a name that is a path",
        ),
        pytest.param(
            "- {stop: users}",
            "7: steps[0].stop: expected the name of traffic that runs, got 'users'",
            id="no such traffic",
        ),
        pytest.param(
            "- {fault: {kind: meteor, target: n1}}",
            "7: steps[0].fault.kind: expected one of clock, delay, duplicate, freeze, kill, link-down, loss, "
            "node-add, node-crash, partition, rate, wipe, got 'meteor'",
            id="no such fault",
        ),
        pytest.param(
            "- {fault: {kind: kill, target: client}}",
            "7: steps[0].fault: expected a program: api-server, NODE/kubeproxy, NODE/cni-agent, "
            "NODE/coredns-lite, ROUTER/bird, a pod that runs",
            id="nothing to kill",
        ),
        pytest.param(
            "- {fault: {kind: node-crash, target: n1}}\n- {fault: {kind: loss, target: n1, value: 5%}}",
            "8: steps[1].fault: expected one link: n2",
            id="a link of a node that has crashed",
        ),
        pytest.param(
            "- {expect: {service: default/web}}",
            "7: steps[0].expect.service: expected NAMESPACE/NAME, and endpoints, got 'default/web'",
            id="a Service and nothing of it",
        ),
        pytest.param(
            "- {expect: {state: up, service: default/web, endpoints: 1}}",
            "7: steps[0].expect: expected one of state, service, traffic",
            id="two expectations",
        ),
        pytest.param(
            "- {within: soon, expect: {state: up}}",
            "7: steps[0].within: expected a duration such as 200us, 20ms, 1.5s or 2m, at most 1000h, "
            "got 'soon'",
            id="no duration",
        ),
        pytest.param(
            "- {run: {at: n1, command: ['true'], output: '('}}",
            "7: steps[0].run.output: expected a regular expression: missing ), unterminated subpattern at "
            "position 0, got '('",
            id="no regular expression",
        ),
        pytest.param(
            "- {delete: [web]}",
            "7: steps[0].delete[0]: expected KIND/NAMESPACE/NAME, such as Service/default/web, got 'web'",
            id="nothing to delete",
        ),
        pytest.param(
            "- apply: [{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 0}]}}]",
            "7: steps[0].apply[0].spec.ports[0].port: expected `int` >= 1, got '0'",
            id="a wrong object",
        ),
        pytest.param(
            "- apply: [no-such-file.yaml]",
            "7: steps[0].apply[0]: expected an object or the path of a file, got 'no-such-file.yaml'",
            id="no such file",
        ),
        pytest.param(
            "- {traffic: {name: users, from: client, to: 'http://web/'}}\n- {stop: users}\n- {stop: users}",
            "9: steps[2].stop: expected the name of traffic that runs, got 'users'",
            id="traffic that has been stopped",
        ),
        pytest.param(
            "- {run: {at: n1, command: ['echo', \"a\\0\"]}}",
            "7: steps[0].run.command[1]: expected a program and words without a NUL character, got 'a\\x00'",
            id="a command with a NUL",
        ),
        pytest.param(
            "- {run: {at: n1, command: ['']}}",
            "7: steps[0].run.command[0]: expected a program and words without a NUL character, got ''",
            id="no program",
        ),
        pytest.param(
            "- {expect: {service: default/web/x, endpoints: 1}}",
            "7: steps[0].expect.service: expected NAMESPACE/NAME, and endpoints, got 'default/web/x'",
            id="no Service's name",
        ),
        pytest.param(
            "- {expect: {service: default/web, endpoints: -1}}",
            "7: steps[0].expect.endpoints: expected `int` >= 0, got '-1'",
            id="fewer endpoints than none",
        ),
        pytest.param(
            "- {expect: {state: good}}",
            "7: steps[0].expect.state: expected one of incomplete, up, got 'good'",
            id="a state that status never says",
        ),
        pytest.param(
            "- {delete: [Service//]}",
            "7: steps[0].delete[0]: expected KIND/NAMESPACE/NAME, such as Service/default/web, "
            "got 'Service//'",
            id="nobody to delete",
        ),
        pytest.param(
            "- apply: [{apiVersion: v1, kind: ConfigMap, metadata: {name: web}}]",
            "7: steps[0].apply[0]: expected an object that the lab reads: EndpointSlice, Namespace, Node, "
            "Pod, Service, ServiceCIDR",
            id="an object that nobody reads",
        ),
        pytest.param("- {expct: {}}", "7: steps[0].expct: expected no such field", id="misspelt"),
    ],
)
def test_refused(steps: str, line: str, tmp_path: Path) -> None:
    file = write(tmp_path, steps)

    with pytest.raises(ConfigError) as caught:
        read_scenario(file)

    assert str(caught.value) == f"{file}:{line}"


@pytest.mark.parametrize(
    ("topology", "line"),
    [
        pytest.param(
            "topology: {name: lab, nodes: [{name: n1}, {name: n1}]}",
            "2: topology.nodes[1].name: expected each node once, got 'n1'",
            id="in the topology",
        ),
        pytest.param(
            "topology: lab.yaml",
            "2: topology: expected a topology, or the path of a file, got 'lab.yaml'",
            id="no file",
        ),
    ],
)
def test_refused_topology(topology: str, line: str, tmp_path: Path) -> None:
    file = write(tmp_path, "- {clear: true}", topology)

    with pytest.raises(ConfigError) as caught:
        read_scenario(file)

    assert str(caught.value) == f"{file}:{line}"
