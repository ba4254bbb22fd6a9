"""The report: what was decided and why, from whatever the stages left behind."""
