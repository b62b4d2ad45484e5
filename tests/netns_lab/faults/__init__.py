"""Faults, as values and laid over a topology."""
