"""Tests of the CNI plugin and its agent."""
