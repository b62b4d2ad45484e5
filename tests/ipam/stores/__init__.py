"""Tests of the package `ipam.stores`."""
