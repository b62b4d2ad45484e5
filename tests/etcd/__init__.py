"""Tests of the package `nodeplane.etcd`."""
