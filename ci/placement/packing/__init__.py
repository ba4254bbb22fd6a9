"""Vector bin packing with an exact certificate: as few nodes as possible for tasks of several resources.

It imports nothing else of this repository, so it could be taken out and used elsewhere.

>>> import numpy as np
>>> from ci.placement.packing import solver
>>> from ci.placement.packing.problem import Problem
>>> tasks, nodes = np.array([[3, 2], [2, 4], [4, 3]]), np.array([[6, 7], [5, 8]])
>>> solution = solver.solve(Problem.of(tasks, nodes), 10.0)
>>> solution.objective, solution.bound, solution.proven
(2, 2, True)
"""
