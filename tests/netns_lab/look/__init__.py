"""Verbs that look into a lab."""
