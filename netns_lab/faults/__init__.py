"""Faults: what may be done to a lab that is up, and how it is undone."""
