"""Tests of the agent's routing."""
