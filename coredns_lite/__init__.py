"""A DNS server for service names."""
