"""A year lived with the real commands by three policies: never, monthly, the loop."""
