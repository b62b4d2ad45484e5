"""Mode ipvs: the kernel's own load balancer chooses endpoints, a table of ours does what it can't."""
