"""Sockets and packet loops."""
