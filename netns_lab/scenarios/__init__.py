"""Scenarios: what is done to a lab, step by step, and what must be seen; they run as tests."""
