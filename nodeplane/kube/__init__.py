"""Kubernetes objects, and the sources they come from."""
