"""Tests of the kernel edges."""
