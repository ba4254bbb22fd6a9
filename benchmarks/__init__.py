"""Speed beside the peers, in one run: `python -m benchmarks.X [--quick] [--json FILE]`."""
