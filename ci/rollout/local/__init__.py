"""Serving on this machine: a process for each version, one of them on the public port."""
