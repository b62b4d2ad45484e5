"""Tests of coredns_lite.plugins.forward."""
