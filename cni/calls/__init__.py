"""How a runtime's call reaches its answer: shim, socket, worker; one at a time for each pod."""
