"""Mutated inputs of every kind that the repository reads: each is read, or refused in words, within bounds.

A surface is one file: a strategy that changes valid documents, and the public door that they go through. The seeds are
fixed, so that a run finds the same as the one before. `make test` tries a few thousand, `make test-long` about 100,000.
"""
