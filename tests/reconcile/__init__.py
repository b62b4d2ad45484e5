"""Tests of diffs and of the sync loop."""
