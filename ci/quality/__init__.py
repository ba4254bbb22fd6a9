"""Is the challenger good enough, and is it better? Metrics, comparison, behaviour checks and the verdict."""
