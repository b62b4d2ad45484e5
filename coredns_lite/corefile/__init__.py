"""The Corefile's syntax: tokens, imports, server blocks."""
