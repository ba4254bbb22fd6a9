"""Images: their layout on disk, a registry, and the nodes of a cluster."""
