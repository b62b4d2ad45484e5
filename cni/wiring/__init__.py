"""A pod's link: its plan, what the node must be for it, and how it is made."""
