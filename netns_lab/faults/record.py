"""The faults that are in force, kept with the lab, so that any later command knows and can end them."""

from netns_lab.faults.fault import Fault
from netns_lab.state import StateDirectory

_GROUP = "faults"


def read_faults(state: StateDirectory) -> tuple[Fault, ...]:
    """Return the faults of a lab, in the order in which they were begun."""
    records = (state.load_record(name, Fault) for name in state.records(_GROUP))
    return tuple(sorted((fault for fault in records if fault is not None), key=lambda fault: fault.number))


def next_number(faults: tuple[Fault, ...]) -> int:
    """Return what the next fault is called by."""
    return max((fault.number for fault in faults), default=0) + 1


def save_fault(state: StateDirectory, fault: Fault) -> None:
    """Keep a fault, before anything of it is done."""
    state.save_record(f"{_GROUP}/{fault.number}", fault)


def drop_fault(state: StateDirectory, fault: Fault) -> None:
    """Forget a fault, when nothing of it is left."""
    state.drop_record(f"{_GROUP}/{fault.number}")
