"""Hyperparameter search: oracles for keras-tuner, their workers, and what the search shows of itself."""
