"""A build in pods, as Jenkins runs it, from this machine: agent pods that start empty, and stage commands in them."""
