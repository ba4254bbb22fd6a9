"""Placement side by side: this repository's solver and its peers on the same instances, in one run.

    python -m benchmarks.placement [--quick] [--trace FOLDER] [--ortools PYTHON]

`--trace` is `data/csv` of hkust-adsl/kubernetes-scheduler-simulator (Apache-2.0); `--ortools` is a Python that has
OR-tools (benchmarks/requirements.txt). `--quick` leaves the exact peers out. Writes docs/placement-benchmark.md.
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import numpy as np

from ci.placement.model import Problem, plain
from ci.placement.solver import solve

LIMIT = 20.0
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


def trace(folder: Path, *, gpus: bool) -> Problem:
    """Alibaba's GPU cluster; GPUs in thousandths, a share of one not kept on one card."""

    def rows(name: str) -> list[dict[str, str]]:
        with (folder / name).open(newline="") as file:
            return list(csv.DictReader(file))

    pods = rows("openb_pod_list_default.csv")
    nodes = rows("openb_node_list_all_node.csv")
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


def cp_sat(problem: Problem, python: str) -> tuple[float, float] | None:
    """Solve in a process of its own."""
    given = json.dumps([problem.requests.tolist(), problem.free.tolist(), LIMIT])
    done = subprocess.run([python, "-c", CP_SAT], input=given, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return None if found is None else (found[0], found[1])


def measure(name: str, problem: Problem, limit: float, options: argparse.Namespace) -> list[str]:
    """Return table rows: instance, method, nodes, bound, gap, seconds."""
    solution = solve(problem, limit)
    used = np.zeros_like(problem.free)
    placed = [i for i, j in enumerate(solution.node_of) if j >= 0]
    np.add.at(used, [solution.node_of[i] for i in placed], problem.requests[placed])
    assert np.all(used <= problem.free)
    left = f" ({len(solution.unplaced)} pods left over)" if solution.unplaced else ""
    proof = "proven" if solution.proven else "none" if solution.unplaced else f"{solution.gap:.2%}"
    nodes_used = f"{solution.objective}{left} | {solution.bound} | {proof}"
    rows = [f"| {name} | **this solver** | {nodes_used} | {solution.seconds:.2f} |"]
    for method, heuristic in HEURISTICS.items():
        started = monotonic()
        nodes = heuristic(problem)
        rows.append(
            f"| | {method} | {nodes if nodes is not None else 'pods left over'} | | | {monotonic() - started:.2f} |"
        )
    # The exact peers only get what they can load: larger instances die in building the model.
    if (
        not options.quick
        and len(problem.tasks) * len(problem.nodes) <= 120_000
        and name.endswith(("40", "seed 0", "seed 1"))
    ):
        started = monotonic()
        reference = plain(problem, LIMIT)
        found = "none in time" if reference.unplaced else reference.objective
        rows.append(f"| | plain formulation, HiGHS | {found} | {reference.bound} | | {monotonic() - started:.2f} |")
        if options.ortools:
            started = monotonic()
            found_by = cp_sat(problem, options.ortools)
            nodes_, bound = (round(found_by[0]), round(found_by[1])) if found_by else ("none in time", "")
            rows.append(f"| | OR-tools CP-SAT | {nodes_} | {bound} | | {monotonic() - started:.2f} |")
    print("\n".join(rows), flush=True)
    return rows


def main() -> None:
    """Measure all instances and write the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="without the exact peers")
    arguments.add_argument("--trace", type=Path, help="folder with the trace's CSV files")
    arguments.add_argument("--ortools", help="a Python with OR-tools")
    options = arguments.parse_args()
    instances = [("100 × 40", fleet(0, 100, 40), 10.0)] if not options.quick else []
    instances += [(f"500 × 200, seed {seed}", fleet(seed, 500, 200), 10.0) for seed in range(10)]
    instances += [(f"2,000 × 1,000, seed {seed}", fleet(seed, 2000, 1000), 10.0) for seed in range(10)]
    instances += [(f"350 node states, seed {seed}", states(seed), 5.0) for seed in range(3)]
    instances += [(f"all pods distinct, seed {seed}", distinct(seed), 15.0) for seed in range(3)]
    instances += [(f"growth: {pods} pods", fleet(1, pods, pods // 2), 10.0) for pods in (250, 1000, 4000, 8000)]
    if options.trace:
        instances.append(("Alibaba, CPU and memory", trace(options.trace, gpus=False), 5.0))
        instances.append(("Alibaba, with GPUs", trace(options.trace, gpus=True), 15.0))
    rows = ["| instance (pods × nodes) | method | nodes | lower bound | gap | seconds |", "|---|---|---|---|---|---|"]
    for name, problem, limit in instances:
        rows += measure(name, problem, limit, options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows += ["", f"Peak memory of the whole run: {peak:.0f} MB."]
    Path("docs/placement-benchmark.md").write_text(
        "# Placement: measured\n\n" + "\n".join(rows) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    sys.exit(main())
