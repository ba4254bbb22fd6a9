"""Pods from their templates: read, sized by the settings, and steered to planned nodes."""
