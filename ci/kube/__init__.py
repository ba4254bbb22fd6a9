"""Talking to Kubernetes: which cluster, its API, Leases and port-forwards."""
