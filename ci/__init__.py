"""The pipeline itself: the library that the stage commands in `scripts/` are made of."""
