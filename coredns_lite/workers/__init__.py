"""Processes that answer from what is kept, several on one address: the plugin `multisocket`."""
