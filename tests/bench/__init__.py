"""Bench scripts."""
