"""Watching what is served: drift against the reference, and whether to retrain."""
