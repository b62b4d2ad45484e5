"""Tests of the package `ipam`."""
