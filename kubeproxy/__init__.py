"""Service VIPs and load balancing in the kernel."""
