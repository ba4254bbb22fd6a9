"""Talking to a Kubernetes cluster: which one, its API, Leases, and its pods: commands, ports, state in words."""
