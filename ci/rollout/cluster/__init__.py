"""Serving on a cluster: what is observed there, what is applied, and how a canary's traffic is analysed."""
