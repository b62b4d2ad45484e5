"""The plugins, each a module, in the order in which a query meets them.

CoreDNS's (plugin.cfg), but for the cache: it has a place in front of `rewrite` there.
"""

from collections.abc import Mapping
from typing import Any

from coredns_lite.plugin import Plugin
from coredns_lite.plugins import (
    acl,
    any_type,
    autopath,
    bind,
    bufsize,
    cache,
    chaos,
    cookies,
    dns64,
    errors,
    file,
    forward,
    health,
    hosts,
    kubernetes,
    loadbalance,
    log,
    loop,
    nsid,
    prometheus,
    ready,
    reload,
    rewrite,
    tls,
    transfer,
)

PLUGINS: Mapping[str, Plugin[Any]] = {
    "tls": tls,
    "cookies": cookies,
    "reload": reload,
    "nsid": nsid,
    "bufsize": bufsize,
    "bind": bind,
    "ready": ready,
    "health": health,
    "prometheus": prometheus,
    "errors": errors,
    "log": log,
    "dns64": dns64,
    "acl": acl,
    "any": any_type,
    "chaos": chaos,
    "loadbalance": loadbalance,
    # Before the cache, which is to keep the parts of its answers and never the whole, and before kubernetes,
    # whose names it walks.
    "autopath": autopath,
    "rewrite": rewrite,
    "transfer": transfer,
    "hosts": hosts,
    "kubernetes": kubernetes,
    "file": file,
    # Behind all that know names themselves: what an upstream denies must not hide what they know from now on.
    "cache": cache,
    "loop": loop,
    "forward": forward,
}
