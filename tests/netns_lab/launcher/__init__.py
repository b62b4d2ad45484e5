"""Programs as forks of one process."""
