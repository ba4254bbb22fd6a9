"""What stages write for other stages: one model for each result file, shared by its writer and its readers."""
