"""SCTP by hand."""
