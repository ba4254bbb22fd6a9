"""One command per stage: `python -m scripts.NAME --help` is its documentation."""
