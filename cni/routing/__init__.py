"""A node's routes to the pods of all others, in the mode of each pool: direct, vxlan, cross-subnet or bgp."""
