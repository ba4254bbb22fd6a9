"""Placement side by side: this repository's solver and its peers on the same instances, in one run.

    python -m benchmarks.placement [--quick] [--json FILE] [--trace FOLDER] [--ortools PYTHON]

Prints what every method finds on every instance, then a line for each requirement: name, value, bound, holds. Exit code
1 if one does not hold. Times and this solver's limits are processor time, so that a busy machine changes little. Pods
that all differ in many resources are made by published recipes (`benchmarks.vectors`). `--quick` leaves the exact peers
out, and most of those. `--trace` is `data/csv` of the repository hkust-adsl/kubernetes-scheduler-simulator
(Apache-2.0). `--ortools` is a Python that has benchmarks/requirements.txt installed, if this one has not: OR-tools and
HiGHS do not share a process. A full run writes docs/placement-benchmark.md and .svg.
"""

import csv
import importlib.util
import json
import multiprocessing
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np

from benchmarks import vectors
from benchmarks.lines import Line, finish
from benchmarks.lines import arguments as parser
from benchmarks.lines import table as table_of
from ci.placement.packing.plain import plain
from ci.placement.packing.problem import Problem
from ci.placement.packing.solver import solve

BEST = "best of"
"""How the best heuristic of an instance that a recipe makes is named."""
PEER_LIMIT = 20.0
"""Seconds that an exact peer gets on an instance, of wall time: it knows no other."""
NODES = np.array([(4, 16), (8, 32), (16, 64), (16, 32), (32, 128), (8, 64), (64, 256), (32, 64)])
PODS = np.array(
    [(250, 512), (500, 1024), (1000, 2048), (1000, 4096), (2000, 4096), (2000, 8192), (4000, 8192), (3000, 6144)]
)
OVERHEAD = (110, 600)
"""What the node's own agents take: milliCPU and MiB."""

CP_SAT = """
import json, sys
from ortools.sat.python import cp_model
asked, free, limit = json.load(sys.stdin)
m = cp_model.CpModel()
y = [m.new_bool_var('') for _ in free]
x = [[m.new_bool_var('') for _ in free] for _ in asked]
for row in x:
    m.add_exactly_one(row)
for j, amounts in enumerate(free):
    for r, amount in enumerate(amounts):
        m.add(sum(q[r] * row[j] for q, row in zip(asked, x)) <= amount * y[j])
m.minimize(sum(y))
s = cp_model.CpSolver()
s.parameters.max_time_in_seconds, s.parameters.num_workers = limit, 2
status = s.solve(m)
print(json.dumps([s.objective_value, s.best_objective_bound] if status in (2, 4) else None))
"""


@dataclass(frozen=True)
class Result:
    """What a method found: nodes (None: no complete plan), lower bound (None: it has none), and processor seconds."""

    instance: str
    method: str
    nodes: int | None
    bound: int | None
    seconds: float
    left_over: int = 0

    @property
    def gap(self) -> float:
        """Share of the nodes that may be too many; 1 without a complete plan and a bound."""
        return 1.0 if self.nodes is None or self.bound is None else (self.nodes - self.bound) / self.nodes


def fleet(seed: int, pods: int, nodes: int) -> Problem:
    """Eight pod shapes on four node shapes, as clouds sell them; milliCPU and MiB."""
    random = np.random.default_rng(seed)
    shapes = NODES[random.choice(len(NODES), 4, replace=False)] * (1000, 1024) - OVERHEAD
    return Problem.of(PODS[random.integers(0, len(PODS), pods)], shapes[random.integers(0, 4, nodes)])


def states(seed: int) -> Problem:
    """The same on nodes of which other pods already took something, in 350 ways."""
    random = np.random.default_rng(seed)
    base = fleet(seed, 2000, 1000)
    taken = np.column_stack([50 * random.integers(0, 60, 350), 64 * random.integers(0, 80, 350)])
    left = np.maximum(base.free[random.integers(0, 1000, 350)] - taken, (500, 1000))
    return Problem.of(base.requests, left[random.integers(0, 350, 1000)])


def distinct(seed: int) -> Problem:
    """Every pod different."""
    random = np.random.default_rng(seed)
    cpu = np.exp(random.uniform(np.log(200), np.log(6000), 2000))
    memory = np.minimum(cpu * np.exp(random.normal(1.2, 0.5, 2000)), 30_000)
    shapes = np.array([(8, 32), (16, 64), (8, 64)]) * (1000, 1024) - OVERHEAD
    return Problem.of(np.column_stack([cpu, memory]).astype(int), shapes[random.integers(0, 3, 1000)])


def triplets(count: int, seed: int) -> Problem:
    """Three pods fill a node exactly, in one way that is hidden; the optimum is `count` nodes."""
    random = np.random.default_rng(seed)
    large = random.integers(380, 491, count)
    middle = np.array([random.integers(250, (1000 - a) // 2 + 1) for a in large])
    sizes = np.concatenate([large, middle, 1000 - large - middle]).reshape(-1, 1)
    return Problem.of(sizes, np.full((2 * count, 1), 1000))


def trace(folder: Path, *, gpus: bool) -> Problem:
    """Alibaba's GPU cluster; GPUs in thousandths of a node's, a relaxation: a share is not kept on one card."""

    def rows(name: str) -> list[dict[str, str]]:
        with (folder / name).open(newline="") as file:
            return list(csv.DictReader(file))

    pods, nodes = rows("openb_pod_list_default.csv"), rows("openb_node_list_all_node.csv")
    asked = [(p["cpu_milli"], p["memory_mib"], int(p["num_gpu"]) * int(p["gpu_milli"])) for p in pods]
    free = [(n["cpu_milli"], n["memory_mib"], 1000 * int(n["gpu"])) for n in nodes]
    columns = 3 if gpus else 2
    return Problem.of(np.array(asked, dtype=np.int64)[:, :columns], np.array(free, dtype=np.int64)[:, :columns])


def by_score(
    score: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray], *, sort: bool
) -> Callable[..., int | None]:
    """Return a heuristic: tasks one after the other, on an open node by the score, else on the largest closed one."""

    def place(problem: Problem) -> int | None:
        scale = problem.free.max(axis=0).clip(1)
        asked, left = problem.requests / scale, problem.free / scale
        whole = left.copy()
        opened = np.zeros(len(left), dtype=bool)
        order = np.argsort(-asked.max(axis=1), kind="stable") if sort else np.arange(len(asked))
        for i in order:
            fits = np.all(left >= asked[i] - 1e-12, axis=1)
            inside = np.flatnonzero(fits & opened)
            if inside.size:
                j = inside[np.argmax(score(left[inside], whole[inside], asked[i]))]
            elif (others := np.flatnonzero(fits)).size:
                j = others[np.argmax(whole[others].sum(axis=1))]
                opened[j] = True
            else:
                return None
            left[j] -= asked[i]
        return int(opened.sum())

    return place


HEURISTICS = {
    "first fit decreasing": by_score(lambda left, _whole, _asked: -np.arange(len(left)), sort=True),
    "best fit decreasing": by_score(lambda left, _whole, _asked: -left.sum(axis=1), sort=True),
    "dot product": by_score(lambda left, _whole, asked: left @ asked, sort=True),
    "kube-scheduler MostAllocated": by_score(
        lambda left, whole, _asked: (1 - left / whole.clip(1e-9)).mean(axis=1), sort=False
    ),
}


def ours(name: str, problem: Problem, limit: float) -> Result:
    """Solve, and check the plan once more."""
    solution = solve(problem, limit, clock=process_time)
    used, placed = np.zeros_like(problem.free), [i for i, j in enumerate(solution.node_of) if j >= 0]
    np.add.at(used, [solution.node_of[i] for i in placed], problem.requests[placed])
    assert np.all(used <= problem.free)
    left = len(solution.unplaced)
    return Result(name, "this solver", None if left else solution.objective, solution.bound, solution.seconds, left)


def best_heuristic(name: str, problem: Problem) -> Result:
    """Return what the best heuristic finds, and the time of all of them."""
    started = process_time()
    found = {method: heuristic(problem) for method, heuristic in vectors.PEERS.items()}
    first = min(found, key=found.__getitem__)
    return Result(name, f"{BEST} {len(found)}: {first}", found[first], None, process_time() - started)


def exact(name: str, problem: Problem, python: str | None) -> list[Result]:
    """Solve with the peers that prove optima."""
    results = []
    for solver in ("HiGHS", "CBC"):
        started = spent()
        found = plain(problem, PEER_LIMIT, solver=solver, complete=True)
        nodes = None if found.unplaced else found.objective
        results.append(Result(name, f"plain, {solver}", nodes, found.bound, spent() - started))
    if python:
        started = spent()
        given = json.dumps([problem.requests.tolist(), problem.free.tolist(), PEER_LIMIT])
        done = subprocess.run([python, "-c", CP_SAT], input=given, capture_output=True, text=True, check=True)
        nodes, bound = map(round, json.loads(done.stdout) or (0, 0))
        results.append(Result(name, "OR-tools CP-SAT", nodes or None, bound, spent() - started))
    return results


def spent() -> float:
    """Return the processor time of this process and of those that it has waited for; seconds."""
    return sum(os.times()[:4])


def memory(problem: Problem, limit: float) -> float:
    """Return the peak memory of a process that solves this and nothing else; MB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (problem, limit))


def _peak(problem: Problem, limit: float) -> float:
    solve(problem, limit, clock=process_time)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def requirements(results: list[Result], peak: float) -> list[Line]:
    """Return the figures beside what they must reach."""
    lines: list[Line] = []

    def at_most(name: str, value: float, most: float, unit: str = "") -> None:
        lines.append(Line(name, value, f"<= {most:g}{unit}", value <= most))

    mine = {result.instance: result for result in results if result.method == "this solver"}
    peers = [result for result in results if result.method != "this solver" and not result.method.startswith(BEST)]
    for family, gap, seconds in (
        ("500 x 200", 0, 0.5),
        ("2000 x 1000", 0, 0.5),
        ("350 node states", 0.003, 5),
        ("all pods distinct", 0.009, 15),
        ("triplets", 0, 10),
        ("trace, CPU and memory", 0.009, 5),
    ):
        if found := [result for name, result in mine.items() if name.startswith(family)]:
            at_most(f"{family}: largest gap of {len(found)}", max(each.gap for each in found), gap)
            at_most(f"{family}: slowest of {len(found)}", max(each.seconds for each in found), seconds, " s")
    worse = [each for each in peers if each.nodes and each.nodes < (mine[each.instance].nodes or 10**9)]
    at_most("plans of peers with fewer nodes", len(worse), 0)
    proofs = [each for each in peers if each.seconds >= 1 and each.nodes and each.nodes == each.bound]
    if proofs:
        least = min(each.seconds / mine[each.instance].seconds for each in proofs)
        lines.append(Line(f"times faster than a peer's proof, least of {len(proofs)}", least, ">= 10", least >= 10))
    best = {result.instance: result.nodes or 0 for result in results if result.method.startswith(BEST)}
    lines += vectors.lines({name: (mine[name].nodes or 10**9, mine[name].bound or 0) for name in best}, best)
    at_most("memory at 8152 x 1523", peak, 500, " MB")
    growth = mine["growth: 8000 pods"].seconds / mine["growth: 250 pods"].seconds
    at_most("growth: time of 8000 pods over that of 250 (32 is linear)", growth, 32)
    return lines


def table(results: list[Result], lines: list[Line]) -> str:
    """Return the page with both tables."""
    rows = [
        "# Placement: measured",
        "",
        "Written by `python -m benchmarks.placement`; processor time, of all threads together.",
        "",
    ]
    rows += table_of(lines)
    rows += ["", "![Nodes beyond the best lower bound, and time](placement-benchmark.svg)", ""]
    rows += [
        "A fraction of a GPU counts in thousandths of its node's GPUs, a relaxation: a share may lie on two cards.",
        "",
    ]
    rows += ["| instance (pods x nodes) | method | nodes | lower bound | seconds |", "|---|---|---|---|---|"]
    for each in results:
        nodes = each.nodes if each.nodes is not None else f"{each.left_over or 'some'} pods left over"
        bound = "" if each.bound is None else each.bound
        rows.append(f"| {each.instance} | {each.method} | {nodes} | {bound} | {each.seconds:.2f} |")
    return "\n".join([*rows, ""])


def plot(results: list[Result], file: Path) -> None:
    """Draw what every method needs beyond the best bound, and its time."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "placement"
    from matplotlib import pyplot

    best = {each.instance: each.bound for each in results if each.method == "this solver" and each.bound}
    methods = list(dict.fromkeys(each.method for each in results))
    figure, axes = pyplot.subplots(figsize=(8, 4.2), layout="constrained")
    for method, marker in zip(methods, "o^vsDP*X", strict=False):
        shown = [each for each in results if each.method == method and each.nodes and each.instance in best]
        x, y = [each.seconds for each in shown], [100 * (each.nodes / best[each.instance] - 1) for each in shown]
        axes.plot(x, y, marker, label=method, alpha=0.75, markersize=9 if method == methods[0] else 5, linestyle="")
    axes.set(xscale="log", xlabel="seconds", ylabel="nodes beyond the lower bound (%)")
    axes.set_yscale("symlog", linthresh=1)
    axes.set_yticks([0, 0.5, 1, 3, 10, 30, 100], ["0", "0.5", "1", "3", "10", "30", "100"])
    axes.set_ylim(-0.3, 1000)
    axes.set_title("Every point is a method on an instance: low and left is better", fontsize=10)
    axes.legend(fontsize=8, loc="upper center", ncols=2)
    axes.grid(alpha=0.3)
    figure.savefig(file, metadata={"Date": None})


def main(argv: list[str] | None = None) -> int:
    """Measure all instances; return 1 if a requirement does not hold."""
    arguments = parser("placement", __doc__)
    arguments.add_argument("--trace", type=Path, metavar="FOLDER", help="the trace's CSV files")
    arguments.add_argument("--ortools", metavar="PYTHON", help="a Python with OR-tools")
    options = arguments.parse_args(argv)
    python = options.ortools or (sys.executable if importlib.util.find_spec("ortools") else None)
    instances = [(f"500 x 200, seed {seed}", fleet(seed, 500, 200), 10.0) for seed in range(10)]
    instances += [(f"2000 x 1000, seed {seed}", fleet(seed, 2000, 1000), 10.0) for seed in range(10)]
    instances += [(f"350 node states, seed {seed}", states(seed), 4.5) for seed in range(2 if options.quick else 6)]
    # HiGHS knows of wall time only, so that on this clock it may go on for some seconds longer.
    instances += [
        (f"all pods distinct, seed {seed}", distinct(seed), 10.0) for seed in range(1 if options.quick else 3)
    ]
    instances += [(f"triplets, {count} nodes", triplets(count, 0), 10.0) for count in (20, 40, 83)]
    instances += [
        (f"growth: {pods} pods", fleet(1, pods, pods // 2), 10.0) for pods in (250, 500, 1000, 2000, 4000, 8000)
    ]
    small = [(f"{pods} x {nodes}", fleet(0, pods, nodes), 10.0) for pods, nodes in ((50, 20), (100, 40), (200, 80))]
    small += [("triplets, 10 nodes", triplets(10, 0), 10.0)]
    large = fleet(1, 8152, 1523)
    if options.trace:
        large = trace(options.trace, gpus=False)
        instances += [("trace, CPU and memory", large, 3.5)]
        instances += [("trace with GPUs", trace(options.trace, gpus=True), 15.0)]
    else:
        print("the trace is not measured: no --trace given")
    if not options.quick and not python:
        print("OR-tools is not measured: it is not installed, and no --ortools given")
    instances += vectors.instances(quick=options.quick)
    # First, because Linux counts what the parent has had for the child's.
    peak = memory(large, 4.5)
    solve(fleet(0, 20, 10), 1.0)  # Imports and the like are not measured.
    results = []
    for name, problem, limit in instances + small * (not options.quick):
        # Ten milliseconds are mostly the machine's doing: growth is told by the fastest of three.
        runs = [ours(name, problem, limit) for _ in range(3 if name.startswith("growth") else 1)]
        found = [min(runs, key=lambda each: each.seconds)]
        for method, heuristic in HEURISTICS.items() if not name.startswith(vectors.CLASS) else ():
            started = process_time()
            found.append(Result(name, method, heuristic(problem), None, process_time() - started))
        if not options.quick and any(problem is each for _, each, _ in small):
            found += exact(name, problem, python)
        if name.startswith(vectors.CLASS):
            found.append(best_heuristic(name, problem))
        for each in found:
            print(f"{each.instance:28} {each.method:30} {each.nodes} {each.bound} {each.seconds:.2f} s", flush=True)
        results += found
    lines = requirements(results, peak)
    if not options.quick:
        Path("docs/placement-benchmark.md").write_text(table(results, lines), encoding="utf-8")
        plot(
            [each for each in results if not each.instance.startswith(vectors.CLASS)],
            Path("docs/placement-benchmark.svg"),
        )
    return finish(lines, options.json)


if __name__ == "__main__":
    sys.exit(main())
