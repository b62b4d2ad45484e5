"""What is wrong with a lab's links by its file and its faults: away while it is worked on, put back after.

A lab whose links lose everything could never be brought up. So it is brought up well, is shown to serve, and
is then made as bad as it is asked to be; one that is already as asked for is left as it is.
"""

from collections.abc import Callable

from netns_lab.attachment import attached, host_link
from netns_lab.faults.fault import Fault
from netns_lab.faults.overlay import build_cuts, overlay
from netns_lab.impairments.kernel import RECORDS, is_there, need_netem, sync_impairments
from netns_lab.impairments.rules import Impairment, build_impairments, is_healthy
from netns_lab.plan import Plan
from netns_lab.processes import Process
from netns_lab.programs import completed, exit_codes, running
from netns_lab.state import StateDirectory
from netns_lab.topology import LinkSpec, Topology
from netns_lab.wiring import Down, Up, diff_wiring
from netns_lab.wiring_kernel import read_wiring

Report = Callable[[str, object], None]


class Trouble:
    """The impairments of one lab."""

    def __init__(self, state: StateDirectory, asked: Topology, faults: tuple[Fault, ...], plan: Plan) -> None:
        """Take what the file asks for, the faults, and the plan of both."""
        self._state = state
        self._topology = overlay(asked, faults)
        self._plan = plan
        self._cuts = build_cuts(asked, faults)

    def check(self) -> None:
        """Make sure that the kernel can do what is asked for, before anything is made.

        Raises:
            SetupError: it can't.
        """
        # The pods' links have names by then that no check depends on.
        links = {pod.key: "eth0" for pod in self._topology.pods}
        if any(each.has_delay for each in build_impairments(self._topology, links).values()):
            need_netem(self._state.lab)

    def must_be_healed(self, read_processes: Callable[[], list[Process]]) -> bool:
        """Say whether there is trouble, asked for or left, and work to do that it would be in the way of."""
        if is_healthy(self._topology) and not self._cuts and not self._state.records(RECORDS):
            return False
        wiring = diff_wiring(self._plan.wiring, list(read_wiring(self._state.lab, self._plan.wiring)))
        if any(not isinstance(fact, Up | Down) for fact in wiring.make):
            return True
        names = {program.name for program in self._plan.programs}
        present = {
            *running(self._state, self._plan.programs, read_processes()),
            *completed(exit_codes(self._state, self._plan.programs)),
        }
        pods = {attachment.pod for attachment in self._plan.attachments}
        return bool(names - present) or bool(pods - attached(self._state, self._plan.attachments).keys())

    def heal(self, report: Report) -> None:
        """Take all impairments away."""
        sync_impairments(self._state, {}, report)

    def make(self, report: Report) -> None:
        """Impair what is to be, and nothing else; call with all pods attached."""
        sync_impairments(self._state, self._desired(), report)

    def missing(self) -> list[str]:
        """Return, in words, what should be wrong and is not."""
        desired = self._desired()
        left = {name.removeprefix(f"{RECORDS}/") for name in self._state.records(RECORDS)} - desired.keys()
        return [
            *(f"impairments in {name}" for name, each in desired.items() if not is_there(name, each)),
            *(f"no impairments in {name}" for name in sorted(left)),
        ]

    def _desired(self) -> dict[str, Impairment]:
        impaired = {pod.key for pod in self._topology.pods if pod.link != LinkSpec()}
        wanted = (attachment for attachment in self._plan.attachments if attachment.pod in impaired)
        pods = attached(self._state, wanted)
        links = {pod: host_link(self._state, pod) for pod in pods}
        return build_impairments(self._topology, links, self._cuts)
