"""Whole labs of several nodes, with packets captured on their links; they need root."""
