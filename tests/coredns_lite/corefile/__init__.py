"""Tests of coredns_lite.server."""
