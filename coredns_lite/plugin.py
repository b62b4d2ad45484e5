"""What a plugin is: how it reads its lines of the Corefile, and how it takes part in an answer.

The plugins of a server block make a chain in the order of `coredns_lite.plugins`, whatever the order of the
Corefile. Each gets the query from the one before it, and answers, or asks the one behind it and maybe changes
what that says; behind the last stands a refusal.

    query ─► acl ─► rewrite ─► kubernetes ─► cache ─► forward ─► REFUSED
"""

from collections.abc import Callable, Collection, Coroutine, Hashable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from coredns_lite.client import Client, Transport
from coredns_lite.corefile.parser import Directive
from coredns_lite.wire.query import Query
from coredns_lite.wire.reply import Answer
from nodeplane.runtime.listen import ListenAddress
from nodeplane.runtime.page import Handler as PageHandler

if TYPE_CHECKING:
    from coredns_lite.workers.crew import Crew

__all__ = ["Client", "Handler", "Later", "Outcome", "Plugin", "Surroundings", "Transport", "after"]

C_contra = TypeVar("C_contra", contravariant=True)
V = TypeVar("V")

Later = Coroutine[Any, Any, Answer]
"""An answer that somebody else has to be asked for: awaited on the asyncio loop, not in a packet loop."""

Outcome = Answer | Later


class Handler(Protocol):
    """One link of a chain."""

    def answer(self, query: Query, client: Client) -> Outcome:
        """Answer a question, at once or later; called in packet loops, so it never waits."""
        ...


class Surroundings(Protocol):
    """What a plugin is built into: one zone of a server block on one address and port."""

    @property
    def server(self) -> str:
        """The server's name as CoreDNS's metrics have it, `dns://:53`."""
        ...

    @property
    def zone(self) -> str:
        """The zone whose queries come to this chain."""
        ...

    def run(self, main: Callable[[], Coroutine[Any, Any, None]], *, when_serving: bool = False) -> None:
        """Have a task of the plugin's run on the asyncio loop for as long as this configuration is in force.

        It starts before the first query is answered, or, `when_serving`, once queries are answered.
        """
        ...

    def changed(self, about: Collection[Hashable] | None = None) -> None:
        """Say that answers given before no longer hold; called on the asyncio loop.

        With `about`, only those that are about one of these (`Answer.about`), or about they don't know what.
        """
        ...

    def shared(self, key: Hashable, make: Callable[[], V]) -> V:
        """Return what several chains share under a key, made by the first that asks."""
        ...

    def wait_for(self, what: str, within_s: float | None = None) -> Callable[[], None]:
        """Keep the program from being ready until what is returned is called.

        At its start it answers queries nevertheless after `within_s` seconds. At a reload the old
        configuration answers until then.
        """
        ...

    def unready(self) -> tuple[str, ...]:
        """Return what the program still waits for."""
        ...

    def serve_page(self, address: ListenAddress, path: str, handler: PageHandler) -> None:
        """Have an HTTP page at an address for as long as this configuration is served."""
        ...

    def serve_by(self, crew: "Crew") -> None:
        """Have the server's UDP queries answered by processes."""
        ...

    def leave_after(self, seconds: float) -> None:
        """Have the program go on for this long when it is asked to end."""
        ...


class Plugin(Protocol[C_contra]):
    """A module of `coredns_lite.plugins`; its docstring is its documentation."""

    REPEATS: bool
    """Whether a server block may have it several times."""

    def decode(self, directive: Directive, zones: tuple[str, ...]) -> Any:
        """Decode its lines in a server block of these zones.

        Raises:
            ConfigError: what is wrong; names file, line and token.
        """
        ...

    def build(self, config: C_contra, surroundings: Surroundings, following: Handler) -> Handler:
        """Build its link of the chain; one that only sets something up returns `following`."""
        ...


def after(outcome: Outcome, change: Callable[[Answer], Answer]) -> Outcome:
    """Change an answer, whether it is there or comes later."""
    if isinstance(outcome, Answer):
        return change(outcome)

    async def wait(later: Later) -> Answer:
        return change(await later)

    return wait(outcome)
