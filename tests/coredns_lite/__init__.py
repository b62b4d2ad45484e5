"""Tests of coredns_lite."""
