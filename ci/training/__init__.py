"""Fitting a network deterministically, and saving it as the same bytes every time."""
