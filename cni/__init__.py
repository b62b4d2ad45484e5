"""The CNI plugin and its agent: pods get links, nodes get routes."""
