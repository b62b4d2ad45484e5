"""nf_tables through raw nfnetlink: a constant table, and batches of elements that change its maps."""
