"""A small Kubernetes API server for the lab: a real one's protocol, for the kinds that nodeplane uses."""
