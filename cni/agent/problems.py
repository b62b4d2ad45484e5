"""What only an operator can put right: said once, and readiness waits for it."""

from collections.abc import Iterable

from ipam.model import Pool

NODE, BGP = "node", "bgp section"


def find_problems(node: str, pools: Iterable[Pool], *, is_in_cluster: bool, has_bgp: bool) -> dict[str, str]:
    """Return what readiness waits for, and why, in one line each.

    Args:
        node: This node's name, by its command line.
        pools: All pools.
        is_in_cluster: Whether there is a Node of that name, as far as nodes are known.
        has_bgp: Whether the agent speaks BGP.
    """
    found = {}
    if not is_in_cluster:
        found[NODE] = f"no Node has this --node-name, all stays as it is until one has node={node}"
    routed = sorted(pool.name for pool in pools if pool.mode == "bgp" and not pool.on_link)
    if routed and not has_bgp:
        found[BGP] = f"pools of mode bgp, and no bgp: in the agent's configuration pools={','.join(routed)}"
    return found
