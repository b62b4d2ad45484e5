"""Tests of cluster state: objects, sources, stores."""
