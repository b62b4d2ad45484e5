"""A scenario run: its lab up, its steps one after the other until one fails, and everything put back."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from netns_lab.faults.actions import clear, end, inject
from netns_lab.lab import up
from netns_lab.quantities import parse_duration
from netns_lab.removal import down
from netns_lab.scenarios.loader import LoadedScenario, build_fault
from netns_lab.scenarios.scenario import ExpectStep, FaultStep, RunStep, Step
from netns_lab.scenarios.stage import NotEndedError, Stage, Traffic
from netns_lab.scenarios.verdict import judge_probe, judge_run, judge_traffic
from netns_lab.state import StateDirectory
from netns_lab.status import read_status
from netns_lab.topology import Topology
from nodeplane.errors import ConfigError, NodeplaneError
from nodeplane.kube.objects import KINDS, ObjectKey

_PAUSE_S = 0.05
# A look begun at the very end has its chance.
_LEAST_S = 1.0

_KINDS = {kind.__name__: kind for kind in KINDS.values()}


class StepResult(msgspec.Struct, frozen=True):
    """A step that was run, or was not because of one before it: `failure` is empty if it held."""

    title: str
    took_s: float = 0.0
    failure: str = ""
    is_skipped: bool = False


class ScenarioResult(msgspec.Struct, frozen=True):
    """A scenario that was run; bringing the lab up is its first step."""

    name: str
    steps: tuple[StepResult, ...]

    @property
    def has_passed(self) -> bool:
        """Say whether every step held."""
        return not any(step.failure for step in self.steps)


def check_free(state: StateDirectory, topology: Topology) -> None:
    """Refuse to take a lab over, and to remove it in the end, that is not the scenario's.

    Raises:
        ConfigError: there is a lab of that name that was made of something else.
    """
    found = state.load_topology()
    if found is not None and found != topology:
        raise ConfigError(
            state.lab,
            "",
            "expected no lab of this name, there is one of another topology: take another --lab",
        )


def run_scenario(
    loaded: LoadedScenario,
    state: StateDirectory,
    report: Callable[[StepResult], None],
    *,
    keep: bool = False,
) -> ScenarioResult:
    """Run a scenario in a lab of this directory; tell `report` of each step when it has ended.

    With `keep` the lab stays up, as its file asks for it; else it is removed.
    """
    titles = ["up", *(title(step) for step in loaded.scenario.steps)]
    results: list[StepResult] = []

    def done(result: StepResult) -> None:
        results.append(result)
        report(result)

    with _put_back(loaded, state, keep=keep) as traffic:
        done(_timed("up", lambda: _bring_up(loaded, state)))
        if not results[-1].failure:
            stage = Stage(state, loaded.lab.topology)
            for number, step in enumerate(loaded.scenario.steps):
                work = StepRun(stage, state, traffic, loaded.objects[number])
                done(_timed(titles[number + 1], lambda work=work, step=step: work.step(step)))  # type: ignore[misc]
                if results[-1].failure:
                    break
    for name in titles[len(results) :]:
        done(StepResult(name, is_skipped=True))
    return ScenarioResult(loaded.scenario.name, tuple(results))


def title(step: Step) -> str:
    """Return what a step is called: its own name, else what it does."""
    if step.name:
        return step.name
    verb = step.verbs[0]
    value: Any = getattr(step, verb)
    match value:
        case FaultStep(kind=kind, target=target, value=how):
            return " ".join(part for part in ("fault", kind, target, how) if part)
        case RunStep(at=place, command=command):
            return f"run {' '.join(command)} at {place}"
        case ExpectStep():
            return f"expect {value.service or value.traffic or value.state}"
        case str():
            return f"{verb} {value}"
    return f"{verb} {getattr(value, 'name', '') or getattr(value, 'to', '')}".rstrip()


class StepRun:
    """One step of a scenario that runs."""

    def __init__(
        self, stage: Stage, state: StateDirectory, traffic: dict[str, Traffic], objects: Sequence[Any]
    ) -> None:
        self._stage = stage
        self._state = state
        self._traffic = traffic
        self._objects = objects

    def step(self, step: Step) -> str:
        """Do what the step asks for, and say why it does not hold."""
        if step.apply:
            self._stage.apply(self._objects)
        elif step.delete:
            self._stage.delete(_key(name) for name in step.delete)
        elif step.fault is not None:
            self._begin_fault(step.fault)
        elif step.clear:
            clear(self._state)
        elif step.traffic is not None:
            self._traffic[step.traffic.name] = self._stage.begin_traffic(step.traffic)
        elif step.stop:
            self._traffic[step.stop].stop()
        else:
            return self._await(step)
        return ""

    def _begin_fault(self, spec: FaultStep) -> None:
        fault = build_fault(spec)
        begun = inject(self._state, fault.kind, fault.target, fault.value, fault.node)
        if spec.for_:
            time.sleep(parse_duration(spec.for_))
            end(self._state, begun)

    def _await(self, step: Step) -> str:
        """Look again and again until it is so, or the time is up."""
        deadline, since_s = time.monotonic() + parse_duration(step.within), time.time()
        failure = ""
        while True:
            try:
                failure = self._look(step, max(deadline - time.monotonic(), _LEAST_S), since_s)
            except NotEndedError as exc:
                # Of the last look, which was cut short, the one before tells more.
                return f"{failure or exc}, after {step.within}"
            if not failure:
                return ""
            if time.monotonic() > deadline:
                return f"{failure}, after {step.within}"
            time.sleep(_PAUSE_S)

    def _look(self, step: Step, limit_s: float, since_s: float) -> str:
        if step.probe is not None:
            return judge_probe(step.probe, self._stage.probe(step.probe, limit_s))
        if step.run is not None:
            done = self._stage.run(step.run.at, step.run.command, limit_s)
            has_output = re.search(step.run.output, done.stdout) is not None
            return judge_run(step.run, done.returncode, has_output)
        expect = step.expect or ExpectStep()
        if expect.traffic:
            return judge_traffic(expect, self._traffic[expect.traffic].outcomes(), since_s)
        return _judge_status(expect, read_status(self._state))


def _judge_status(step: ExpectStep, status: dict[str, Any]) -> str:
    if step.state:
        missing = "; ".join(status["missing"])
        return "" if status["state"] == step.state else f"the lab is {status['state']}: {missing}"
    row = next((row for row in status["services"] if row["service"] == step.service), None)
    if row is None:
        return f"there is no Service {step.service}"
    found = len(row["endpoints"])
    return "" if found == step.endpoints else f"{step.service} has {found} endpoints"


def _bring_up(loaded: LoadedScenario, state: StateDirectory) -> str:
    missing = up(loaded.lab, state).missing
    return "; ".join(missing)


def _timed(name: str, work: Callable[[], str]) -> StepResult:
    started = time.monotonic()
    try:
        failure = work()
    except NodeplaneError as exc:
        failure = str(exc)
    return StepResult(name, time.monotonic() - started, failure)


@contextmanager
def _put_back(loaded: LoadedScenario, state: StateDirectory, *, keep: bool) -> Iterator[dict[str, Traffic]]:
    """End traffic and faults, and remove the lab, or what was applied, also after a failure."""
    traffic: dict[str, Traffic] = {}
    try:
        yield traffic
    finally:
        for each in traffic.values():
            # One that had ended by itself (its pod's node has crashed) is no reason to leave the rest.
            with suppress(NodeplaneError):
                each.stop()
        if not keep:
            down(state)
        elif state.load_topology() is not None:
            applied = [value for values in loaded.objects.values() for value in values]
            clear(state)
            Stage(state, loaded.lab.topology).delete(map(_key_of, applied))
            # What the lab itself has made and a step has changed or deleted.
            up(loaded.lab, state)


def _key(name: str) -> ObjectKey:
    kind, namespace, rest = name.split("/")
    return ObjectKey(_KINDS[kind], namespace, rest)


def _key_of(value: dict[str, Any]) -> ObjectKey:
    metadata = value["metadata"]
    return _key(f"{value['kind']}/{metadata.get('namespace', 'default')}/{metadata['name']}")
