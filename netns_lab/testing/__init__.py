"""Labs in tests: the plugin for pytest, and what a test holds in its hand."""
