"""A pod's link: its plan, how it is made, and how the host's side is kept."""
