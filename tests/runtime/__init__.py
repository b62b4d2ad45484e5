"""Tests of what every program shares: command line, logs, daemons."""
