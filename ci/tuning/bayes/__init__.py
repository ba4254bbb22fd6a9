"""Bayesian optimisation: search space, Gaussian process, acquisition and halving, on plain arrays.

It imports nothing else of this repository, so it could be taken out and used elsewhere. Less is better throughout.
A search suggests, is told the objective, and suggests again:

>>> import keras_tuner, numpy as np
>>> from ci.tuning.bayes import acquisition, gaussian_process
>>> from ci.tuning.bayes.space import Space
>>> hp = keras_tuner.HyperParameters()
>>> _ = hp.Float("x", -1.0, 1.0)
>>> space, rows = Space(hp), np.array([[0.1], [0.5], [0.9]])
>>> objectives = np.array([space.values(row)["x"] ** 2 for row in rows])
>>> posterior = gaussian_process.fit(space.embed(rows), objectives, np.zeros(3), space.group)
>>> best = rows[np.argsort(objectives)]
>>> next_row = acquisition.ranked(posterior, space, best, np.random.default_rng(0), exploration=1.0)[0]
>>> bool(abs(space.values(next_row)["x"]) < 0.5)
True
"""
