"""`cni-agent`: the daemon of a node, and what it looks after."""
