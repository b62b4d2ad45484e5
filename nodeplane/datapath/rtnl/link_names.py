"""Which index a link has, and which name: the kernel's messages have the one, our values the other."""

from contextlib import suppress

from nodeplane.datapath.rtnl import link_codec as codec
from nodeplane.datapath.rtnl.exchange import Exchange
from nodeplane.errors import KernelNotFoundError

_LOOPBACK_INDEX = 1
# A link read by itself costs more than one out of a dump; but a dump has all of them.
_DUMP_FROM = 8


class LinkNames:
    """The links of one namespace by name and by index.

    Args:
        exchange: The namespace's socket.
        is_brief: A link's index is asked for only once, for one short piece of work.
    """

    def __init__(self, exchange: Exchange, *, is_brief: bool) -> None:
        self._exchange = exchange
        # The loopback is the first device of every namespace (net/core/dev.c, register_netdevice).
        self._known: dict[str, int] | None = {"lo": _LOOPBACK_INDEX} if is_brief else None

    def read(self, name: str) -> memoryview:
        """Return the kernel's message of a link."""
        answer = self._exchange.question(f"read link {name}", codec.GETLINK, codec.link_query(name))
        self.learn(name, answer)
        return answer

    def index(self, name: str) -> int:
        """Return a link's index."""
        known = self._known.get(name) if self._known is not None else None
        return codec.link_index(self.read(name)) if known is None else known

    def name(self, operation: str, index: int) -> str:
        """Return the name of the link of that index."""
        for name, known in self._known.items() if self._known is not None else ():
            if known == index:
                return name
        answer = self._exchange.question(operation, codec.GETLINK, codec.link_query(index=index))
        name = codec.link_label(answer)
        self.learn(name, answer)
        return name

    def names(self, indexes: set[int]) -> dict[int, str]:
        """Return the names of some links, those that are gone left out: few singly, many from one dump."""
        if len(indexes) > _DUMP_FROM:
            answers = self._exchange.dump("read link names", codec.GETLINK, codec.link_query())
            return {codec.link_index(answer): codec.link_label(answer) for answer in answers}
        names: dict[int, str] = {}
        for index in indexes:
            with suppress(KernelNotFoundError):
                names[index] = self.name("read a link's name", index)
        return names

    def learn(self, name: str, message: memoryview) -> None:
        """Take note of the link of that name, of which the kernel tells."""
        if self._known is not None:
            self._known[name] = codec.link_index(message)

    def forget(self, name: str) -> None:
        """Drop what is known of a link, which is about to go."""
        if self._known is not None:
            self._known.pop(name, None)
