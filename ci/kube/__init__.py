"""Talking to Kubernetes: which cluster, and its API."""
