"""From a scenario file to a checked scenario and its lab: what is wrong is found before anything is made."""

import re
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec

from netns_lab.execute import find_place
from netns_lab.faults.fault import Fault
from netns_lab.faults.overlay import overlay
from netns_lab.faults.targets import check_fault
from netns_lab.loader import LabSpec, decode_lab, read_lab
from netns_lab.quantities import parse_duration
from netns_lab.scenarios.request import parse_target
from netns_lab.scenarios.scenario import FaultStep, Scenario, Step
from netns_lab.topology import NodeSpec, Topology
from nodeplane.errors import ConfigError
from nodeplane.kube.manifest_file import decode_objects
from nodeplane.kube.objects import KINDS
from nodeplane.yamldoc import FieldPath, Problem, YamlDocument, read_documents

_NAME = re.compile("[a-z0-9-]{1,60}")
_KIND_NAMES = frozenset(kind.__name__ for kind in KINDS.values())


class LoadedScenario(msgspec.Struct, frozen=True):
    """A scenario and its lab; `objects` are what its steps apply, by the step's number."""

    scenario: Scenario
    lab: LabSpec
    objects: dict[int, list[dict[str, Any]]]


def read_scenario(path: Path) -> LoadedScenario:
    """Read a scenario file, its topology, and the files that its steps name.

    Raises:
        ConfigError: something in them is wrong; names file, line and field.
    """
    documents = read_documents(path)
    if len(documents) != 1:
        raise ConfigError(str(path), "", f"expected one YAML document, got {len(documents)}")
    document = documents[0]
    scenario = document.convert(Scenario)
    if isinstance(scenario.topology, str):
        file = path.parent / scenario.topology
        if not file.is_file():
            raise document.error(("topology",), "expected a topology, or the path of a file")
        lab = read_lab(file)
    else:
        lab = decode_lab(document, ("topology",))
    for where, expected in _problems(scenario, lab.topology):
        raise document.error(where, expected)
    objects = {number: _objects(document, path, number, step) for number, step in enumerate(scenario.steps)}
    return LoadedScenario(scenario, lab, objects)


def build_fault(spec: FaultStep) -> Fault:
    """Return the fault that a step begins; its number is not known yet."""
    node = NodeSpec(spec.target) if spec.kind == "node-add" else None
    return Fault(0, spec.kind, spec.target, spec.value, node)


def _problems(scenario: Scenario, topology: Topology) -> Iterator[Problem]:
    """Yield what is wrong with the steps; faults are checked against the lab as the steps before leave it."""
    faults: list[Fault] = []
    traffic: set[str] = set()
    stopped: set[str] = set()
    if not scenario.steps:
        yield ("steps",), "expected at least one step"
    for number, step in enumerate(scenario.steps):
        place: FieldPath = ("steps", number)
        if len(step.verbs) != 1:
            names = "apply, delete, fault, clear, traffic, stop, probe, run, expect"
            yield place, f"expected one of {names}"
            continue
        now = overlay(topology, faults)
        yield from (((*place, *path), words) for path, words in _step_problems(step, now, traffic))
        if step.stop and step.stop not in traffic - stopped:
            yield (*place, "stop"), "expected the name of traffic that runs"
        if step.fault is not None:
            fault = build_fault(step.fault)
            try:
                check_fault(now, fault)
            except ConfigError as exc:
                yield (*place, "fault"), exc.expected
            if not step.fault.for_:
                faults.append(fault)
        if step.clear:
            faults.clear()
        if step.traffic is not None:
            traffic.add(step.traffic.name)
        if step.stop:
            stopped.add(step.stop)


def _step_problems(step: Step, topology: Topology, traffic: set[str]) -> Iterator[Problem]:
    durations: list[tuple[FieldPath, str]] = [(("within",), step.within)]
    if step.fault is not None and step.fault.for_:
        durations.append((("fault", "for"), step.fault.for_))
    places = []
    if step.traffic is not None:
        durations.append((("traffic", "every"), step.traffic.every))
        places.append(("traffic", "from", step.traffic.from_))
        yield from _target_problems("traffic", step.traffic.to)
        if step.traffic.name in traffic:
            yield ("traffic", "name"), "expected each name once"
        if not _NAME.fullmatch(step.traffic.name):  # it becomes a file's name
            yield ("traffic", "name"), "expected lower case letters, digits, '-'"
    if step.probe is not None:
        places.append(("probe", "from", step.probe.from_))
        yield from _target_problems("probe", step.probe.to)
    if step.run is not None:
        places.append(("run", "at", step.run.at))
    for verb, field, name in places:
        try:
            find_place(topology, name)
        except ConfigError as exc:
            yield (verb, field), exc.expected
    for path, text in durations:
        try:
            parse_duration(text)
        except ValueError as exc:
            yield path, str(exc)
    yield from _word_problems(step)
    yield from _expect_problems(step, traffic)


def _word_problems(step: Step) -> Iterator[Problem]:
    if step.run is not None:
        for index, word in enumerate(step.run.command):
            if "\0" in word or not (word or index):
                yield ("run", "command", index), "expected a program and words without a NUL character"
        try:
            re.compile(step.run.output)
        except re.error as exc:
            yield ("run", "output"), f"expected a regular expression: {exc}"
    if step.probe is not None and step.probe.source:
        try:
            ip_network(step.probe.source)
        except ValueError:
            yield ("probe", "source"), "expected an address or a network"
    for index, name in enumerate(step.delete):
        kind, *rest = name.split("/")
        if kind not in _KIND_NAMES or len(rest) != 2 or not all(rest):
            yield ("delete", index), "expected KIND/NAMESPACE/NAME, such as Service/default/web"


def _expect_problems(step: Step, traffic: set[str]) -> Iterator[Problem]:
    expect = step.expect
    if expect is None:
        return
    if [bool(expect.state), bool(expect.service), bool(expect.traffic)].count(True) != 1:
        yield ("expect",), "expected one of state, service, traffic"
    if expect.traffic and expect.traffic not in traffic:
        yield ("expect", "traffic"), "expected the name of traffic that an earlier step begins"
    named = [bool(part) for part in expect.service.split("/")]
    if expect.service and (expect.endpoints is None or named != [True, True]):
        yield ("expect", "service"), "expected NAMESPACE/NAME, and endpoints"
    if expect.traffic and not expect.in_a_row and expect.failed is None:
        yield ("expect", "traffic"), "expected inARow or failed beside it"


def _target_problems(verb: str, text: str) -> Iterator[Problem]:
    try:
        parse_target(text)
    except ValueError as exc:
        yield (verb, "to"), str(exc)


def _objects(document: YamlDocument, path: Path, number: int, step: Step) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for index, entry in enumerate(step.apply):
        place: FieldPath = ("steps", number, "apply", index)
        if not isinstance(entry, str):
            values = [document.at(where) for where, _ in decode_objects(document, place)]
            if not values:
                raise document.error(
                    place, f"expected an object that the lab reads: {', '.join(sorted(_KIND_NAMES))}"
                )
            found += values
            continue
        file = path.parent / entry
        if not file.is_file():
            raise document.error(place, "expected an object or the path of a file")
        for other in read_documents(file):
            found += [other.at(where) for where, _ in decode_objects(other)]
    return found
