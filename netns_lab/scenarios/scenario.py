"""The scenario file: steps that are done to a lab in turn, as frozen values and as a JSON schema."""

from inspect import cleandoc
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from netns_lab.faults.fault import Kind

DEFAULT_WITHIN = "30s"


class _Part(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """A part of the file; a field that nobody reads is a mistake of the writer's and refused."""


Count = Annotated[int, Meta(ge=1, le=100_000)]
Target = Annotated[str, Meta(description="http://HOST[:PORT]/PATH, or tcp://, udp:// or sctp://HOST:PORT.")]
Answerers = Annotated[
    tuple[str, ...],
    Meta(description="Names of pods, with `*` and `?` in them; each answer is from one of these."),
]


class FaultStep(_Part, frozen=True):
    """A fault, as `netns-lab fault` begins it."""

    kind: Kind
    target: Annotated[str, Meta(description="A link, a program, a node, or a side of a partition.")]
    value: Annotated[str, Meta(description="How much, or the other side.")] = ""
    for_: Annotated[str, Meta(description="End it after so long, and wait for that.")] = msgspec.field(
        name="for", default=""
    )


class TrafficStep(_Part, frozen=True):
    """Requests from now on, until the scenario ends or a step stops them."""

    name: str
    to: Target
    from_: Annotated[str, Meta(description="The place that they come from.")] = msgspec.field(name="from")
    every: Annotated[str, Meta(description="The pause between two, such as 20ms.")] = "20ms"
    held: Annotated[
        int,
        Meta(ge=0, le=100, description="Connections that stay open and are asked in turn, beside new ones."),
    ] = 0


class ProbeStep(_Part, frozen=True):
    """Requests one after the other, each with a connection of its own."""

    to: Target
    from_: Annotated[str, Meta(description="The place that they come from.")] = msgspec.field(name="from")
    count: Count = 1
    answered_by: Answerers = ()
    source: Annotated[str, Meta(description="The address that the answerer saw, or a network with it.")] = ""
    fails: Annotated[bool, Meta(description="None may be answered.")] = False


class RunStep(_Part, frozen=True):
    """A command in a place."""

    at: str
    command: Annotated[tuple[str, ...], Meta(min_length=1)]
    code: int = 0
    output: Annotated[str, Meta(description="A regular expression that is found in what it prints.")] = ""


class ExpectStep(_Part, frozen=True):
    """What must be so, or become so in time."""

    state: Annotated[
        Literal["up", "incomplete"] | None, Meta(description="What `netns-lab status` says.")
    ] = None
    service: Annotated[str, Meta(description="A Service, as NAMESPACE/NAME.")] = ""
    endpoints: Annotated[
        Annotated[int, Meta(ge=0)] | None, Meta(description="How many ready endpoints the Service has.")
    ] = None
    traffic: Annotated[str, Meta(description="Traffic that runs or has run.")] = ""
    in_a_row: Annotated[
        int, Meta(ge=0, description="So many requests in a row, begun since this step, are all answered.")
    ] = 0
    answered_by: Answerers = ()
    failed: Annotated[
        Annotated[int, Meta(ge=0)] | None, Meta(description="At most so many of all requests failed.")
    ] = None


class Step(_Part, frozen=True):
    """One step; it has exactly one of these fields beside `name` and `within`."""

    name: str = ""
    within: Annotated[str, Meta(description="How long it may take until it is so.")] = DEFAULT_WITHIN
    apply: Annotated[
        tuple[str | dict[str, Any], ...], Meta(description="Objects, or paths of files with objects.")
    ] = ()
    delete: Annotated[tuple[str, ...], Meta(description="Objects, as KIND/NAMESPACE/NAME.")] = ()
    fault: FaultStep | None = None
    clear: Annotated[bool, Meta(description="End all faults.")] = False
    traffic: TrafficStep | None = None
    stop: Annotated[str, Meta(description="Traffic that ends here.")] = ""
    probe: ProbeStep | None = None
    run: RunStep | None = None
    expect: ExpectStep | None = None

    @property
    def verbs(self) -> tuple[str, ...]:
        """What it does; a right one does one thing."""
        names = ("apply", "delete", "fault", "clear", "traffic", "stop", "probe", "run", "expect")
        return tuple(name for name in names if getattr(self, name))


class Scenario(_Part, frozen=True):
    """A lab and what is done to it."""

    name: Annotated[str, Meta(description="Name of the scenario, and of its test suite.")]
    topology: Annotated[
        str | dict[str, Any], Meta(description="The path of a topology file, relative to this one, or one.")
    ]
    steps: Annotated[tuple[Step, ...], Meta(extra_json_schema={"minItems": 1})]


def scenario_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a scenario file."""
    schema = msgspec.json.schema(Scenario)
    for definition in schema["$defs"].values():
        definition["description"] = cleandoc(definition["description"])
    header = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "netns-lab scenario"}
    return header | schema
