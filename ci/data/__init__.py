"""From the task's raw table to checked, split and fingerprinted data."""
