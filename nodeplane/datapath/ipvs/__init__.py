"""The kernel's own load balancer, IPVS: virtual services, their real servers, time-outs."""
