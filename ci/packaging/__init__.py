"""One immutable image for a model: assembled deterministically, verified byte by byte."""
