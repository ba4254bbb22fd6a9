"""The order of stages, and running the cached ones through DVC."""
