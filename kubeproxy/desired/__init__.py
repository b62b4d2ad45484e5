"""From Services and EndpointSlices to the elements that should be in the kernel."""
