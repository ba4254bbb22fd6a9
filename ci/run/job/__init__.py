"""The tuning Job: a search in pods of its own, made and watched from a pod that runs nothing of `model/`."""
