"""The choice of nodes for the pipeline's pods: an integer program, exact, checked and explained."""
