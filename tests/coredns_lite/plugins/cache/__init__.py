"""Tests of coredns_lite.plugins.cache."""
