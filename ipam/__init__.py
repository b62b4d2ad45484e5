"""Unique pod addresses from blocks that belong to nodes."""
