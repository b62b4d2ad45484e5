"""How a virtual service chooses, in words."""

from nodeplane.datapath.ipvs.service import ServiceFlags, ServiceOptions


def describe_options(options: ServiceOptions) -> str:
    """Say how a virtual service chooses, as `show` and `trace` print it."""
    words = [options.scheduler]
    if options.flags & ServiceFlags.BY_PORT:
        words.append("by client and port")
    if options.flags & ServiceFlags.PERSISTENT:
        words.append(f"kept {options.timeout_s} s")
    return ", ".join(words)
