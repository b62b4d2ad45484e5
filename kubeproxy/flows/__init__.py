"""Tracked flows that lead where their frontend does not lead any more."""
