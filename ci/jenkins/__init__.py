"""Jenkins: the files that make a controller, and a client that starts builds on one."""
