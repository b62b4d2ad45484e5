"""Scenarios: read, judged, reported."""
