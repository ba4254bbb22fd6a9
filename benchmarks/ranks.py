"""How searches compare over many functions at once: mean rank, share of wins, and regret by kind."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from benchmarks.kinds import CHOSEN, DIMENSIONS, HELD, Kind
from benchmarks.lines import Line
from benchmarks.problems import PROBLEMS

Best = Mapping[tuple[str, str], Sequence[float]]
"""The best value of each seed by problem and search."""
FLOOR = 1e-4
"""Share of random search's regret that is added to all, as on plateaus regrets are 0 and have no ratio."""
PEERS = ("Optuna GP", "Optuna TPE", "SMAC3", "CMA-ES", "keras-tuner random")
SLOW = "SMAC3"
"""Only on the half that nothing was chosen on, and not quickly."""
SEEDS = 2
"""Searches of each function, which has two instances, too."""


def jobs(trials: int | None) -> Iterator[tuple[str, str, int, int]]:
    """Yield function, search, seed and trials; with `trials`, one search with that many of a few functions."""
    for name, kind in {**CHOSEN, **HELD}.items():
        for search in ("ours", *PEERS):
            if trials is None and (search != SLOW or name in HELD):
                yield from ((name, search, seed, PROBLEMS[name].trials) for seed in range(SEEDS))
            elif trials and search != SLOW and name in HELD and (kind.dimensions, kind.instance) == (3, 0):
                yield name, search, 0, trials


def lines(best: Best) -> Iterator[Line]:
    """Compare ours with each peer that has run, on the functions that choices were made on, and on the others."""
    for half, functions in {"chosen on": CHOSEN, "held out": HELD}.items():
        for dimensions in DIMENSIONS:
            names = [name for name, kind in functions.items() if kind.dimensions == dimensions]
            yield from _standing(best, names, f"{dimensions}D {half}", is_target=half == "held out")
        for kind in ("magnitudes", "plateaus"):
            yield from _regret(best, kind, functions, half)


def _standing(best: Best, names: Sequence[str], label: str, *, is_target: bool) -> Iterator[Line]:
    there = [name for name in names if (name, "ours") in best]
    peers = [peer for peer in PEERS if there and all((name, peer) in best for name in there)]
    if not peers:
        return
    found = [list(zip(*(best[name, search] for search in ("ours", *peers)), strict=False)) for name in there]
    runs = np.concatenate(found)  # of a seed that some have not run yet, none
    better = (runs[:, None, :] < runs[:, :, None]).sum(axis=2)
    equal = (runs[:, None, :] == runs[:, :, None]).sum(axis=2)
    ranks = dict(zip(("ours", *peers), (better + (equal + 1) / 2).mean(axis=0), strict=True))
    first = min(ranks[peer] for peer in peers)
    for search, rank in ranks.items():
        holds = not (is_target and search == "ours") or rank <= first
        bound = f"<= {first:.3g}" if is_target and search == "ours" else "printed"
        yield Line(f"{label}: mean rank of {1 + len(peers)}, {search}", float(rank), bound, bool(holds))
    for column, peer in enumerate(peers, 1):
        share = ((runs[:, 0] < runs[:, column]) + 0.5 * (runs[:, 0] == runs[:, column])).mean()
        bound = ">= 0.6" if is_target else "printed"
        yield Line(f"{label}: wins against {peer}", float(share), bound, bool(share >= 0.6 or not is_target))


def _regret(best: Best, kind: str, functions: Mapping[str, Kind], half: str) -> Iterator[Line]:
    names = [name for name, each in functions.items() if each.kind == kind and (name, "ours") in best]
    peers = [peer for peer in PEERS[:-1] if names and all((name, peer) in best for name in names)]
    if not peers or any((name, PEERS[-1]) not in best for name in names):
        return

    def mean(search: str) -> float:
        floors = [FLOOR * np.median(best[name, PEERS[-1]]) for name in names]
        return float(
            np.mean([np.log(np.mean(best[name, search]) + floor) for name, floor in zip(names, floors, strict=True)])
        )

    value = np.exp(mean("ours") - min(map(mean, peers)))
    is_target = half == "held out"
    holds, bound = bool(value <= 1.2 or not is_target), "<= 1.2" if is_target else "printed"
    yield Line(f"{kind}, {half}: regret / best peer's, geometric mean", float(value), bound, holds)
