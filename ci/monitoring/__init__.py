"""Watching what is served: reference statistics, drift, and whether to retrain."""
