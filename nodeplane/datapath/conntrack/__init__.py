"""The kernel's connection tracking table: flows, found by a filter and deleted one by one."""
