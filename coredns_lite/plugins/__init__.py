"""The plugins, each a module, in the order in which a query meets them.

CoreDNS's (plugin.cfg), but for the cache: it has a place in front of `rewrite` there. A module is imported
when a Corefile has its plugin: most have few.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, cast

from coredns_lite.plugin import Plugin

_NAMES = (
    "tls",
    "multisocket",
    "cookies",
    "reload",
    "nsid",
    "bufsize",
    "bind",
    "ready",
    "health",
    "prometheus",
    "errors",
    "log",
    "dns64",
    "acl",
    "any",
    "chaos",
    "loadbalance",
    # Before the cache, which is to keep the parts of its answers and never the whole, and before kubernetes,
    # whose names it walks.
    "autopath",
    "rewrite",
    "header",
    "minimal",
    "template",
    "transfer",
    "hosts",
    "kubernetes",
    "file",
    # Behind all that know names themselves: what an upstream denies must not hide what they know from now on.
    "cache",
    "loop",
    "forward",
)
# Where a plugin's name is Python's too.
_MODULES = {"any": "any_type"}


class _Plugins(Mapping[str, Plugin[Any]]):
    """The modules by the plugins' names, in order."""

    def __getitem__(self, name: str) -> Plugin[Any]:
        if name not in _NAMES:
            raise KeyError(name)
        return cast("Plugin[Any]", import_module(f"{__name__}.{_MODULES.get(name, name)}"))

    def __contains__(self, name: object) -> bool:
        return name in _NAMES

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)


PLUGINS: Mapping[str, Plugin[Any]] = _Plugins()
