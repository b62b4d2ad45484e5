"""Links, addresses, routes and neighbours: one contract for the kernel and the fake."""
