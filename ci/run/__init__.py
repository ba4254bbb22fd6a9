"""Running a build: the order of its stages, by DVC, in pods or as a Job, and what this machine needs for it."""
