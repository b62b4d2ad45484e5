"""How deep a document may nest, in whatever it is written."""

# libyaml's binding composes by recursion in C: some 25,000 levels end the process (8 MiB stack, PyYAML 6.0).
# Building takes four Python frames a level, of 1000. The deepest of real manifests, CRDs, come to about 50.
MAX_DEPTH = 128
