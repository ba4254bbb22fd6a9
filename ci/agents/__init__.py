"""The pods that Jenkins runs stages in: YAML files, and what a build changes in them."""
