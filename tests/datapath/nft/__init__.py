"""nf_tables."""
