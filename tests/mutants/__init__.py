"""Do the fast tests notice a changed line? `make mutants` changes one at a time and runs the tests beside it."""
