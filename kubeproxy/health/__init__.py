"""Whether this proxy works, and whether this node should get a Service's traffic."""
