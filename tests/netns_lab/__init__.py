"""Tests of the lab: tables over its pure parts, and its parts that touch processes and files."""
