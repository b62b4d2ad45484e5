"""A lab as a drawing: `picture` decides what is in it, `mermaid`, `dot` and `svg` write it down. Pure."""
