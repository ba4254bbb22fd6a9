"""Pods from their files: sized by the settings and steered to planned nodes."""
