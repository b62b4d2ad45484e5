"""As much of SCTP (RFC 9260) as an echo needs, for kernels that have no SCTP sockets.

Such a kernel hands SCTP packets to raw sockets, tracks and translates them; only associations are missing.
One stream, one message at a time, one path: what is lost is sent again by whoever asks.
"""
