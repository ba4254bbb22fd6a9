"""Measurements against other people's tools; each prints its figures, the bounds, and whether they hold."""
