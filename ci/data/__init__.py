"""From the raw table to checked, split and fingerprinted data; and the statistics that drift is measured against."""
