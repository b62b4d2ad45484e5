"""Kubernetes networks on one machine, in network namespaces."""
