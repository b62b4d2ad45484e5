"""Pods of several nodes in each routing mode, in whole labs, with captures on their links; they need root."""
