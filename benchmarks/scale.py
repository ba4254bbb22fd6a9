"""How seconds and memory grow with the data: many rows, many fields, many files; and what the pipeline adds to Keras.

The rows come as a Parquet data set (x1, x10 and x30 of them), and every stage up to the test runs as a process of its
own, in a task of this benchmark's, in build/scale. A plain Keras script then repeats the trials of a search. In full
the largest has ten million rows, and there are 10 GB of small files: about an hour on two cores.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import large
from benchmarks.lines import Line, arguments, finish

FOLDER = Path("build/scale")
STAGES = ("configure", "prepare", "tune", "train", "evaluate")
TIMES = (1, 10, 30)
BENT = 1.3
"""By how much the last rows may be dearer than those before them: 1 is a straight line."""
GIGABYTES, MINUTES = 4.0, 10.0
"""What prepare may take of ten million rows."""
OVERHEAD = 0.1
"""Share of the trials' own seconds that a search may take beyond them."""


@dataclass(frozen=True)
class Cost:
    """What a process took.

    Attributes:
        seconds: by the clock.
        busy: of the processors; beside other work on a machine these are what can be compared.
        memory: the most that it held; GB.
    """

    seconds: float
    busy: float
    memory: float


def main(argv: list[str] | None = None) -> int:
    """Measure, print the lines, and return the exit code."""
    options = arguments("scale", __doc__).parse_args(argv)
    quick = options.quick
    rows, fields, files = (10_000, 300, (2_000, 4_000)) if quick else (336_776, 1_000, (100_000, 100_000))
    lines = list(_rows(rows, ("configure", "prepare", "train", "evaluate") if quick else STAGES))
    named = f"{fields} fields, {'1,000' if quick else '100,000'} rows"
    lines += _once(named, lambda folder: large.many_fields(folder, 1_000 if quick else 100_000, fields), quick)
    named = f"{files[0]:,} files of {files[1] / 1000:g} KB"
    lines += _once(named, lambda folder: large.many_files(folder, *files), quick)
    lines += _overhead(*((300_000, 4, 4) if quick else (1_000_000, 10, 5)))
    return finish(lines, options.json)


def _rows(rows: int, stages: Sequence[str]) -> Iterator[Line]:
    """Yield the cost of each stage for each number of rows, and how straight its seconds are in them."""
    costs: dict[str, list[Cost]] = {name: [] for name in stages}
    for times in TIMES:
        folder = FOLDER / f"x{times}"
        large.many_rows(folder, rows * times)
        for name, cost in _run(folder, stages):
            costs[name].append(cost)
            yield from _printed(f"x{times} ({rows * times:,} rows) {name}", cost)
    for name in stages[1:]:
        first, middle, last = (cost.busy for cost in costs[name])
        steps = (TIMES[2] - TIMES[1]) / (TIMES[1] - TIMES[0])
        # Seconds that are hardly more than noise say nothing of a line.
        bent = (last - middle) / max(middle - first, 1.0) / steps
        yield Line(f"{name}: dearer by the row at last", bent, f"<= {BENT}", bent <= BENT)
    cost, most = costs["prepare"][-1], MINUTES * 60
    yield Line(f"prepare x{TIMES[-1]}, seconds", cost.seconds, f"<= {most:g}", cost.seconds <= most)
    yield Line(f"prepare x{TIMES[-1]}, GB", cost.memory, f"<= {GIGABYTES:g}", cost.memory <= GIGABYTES)


def _once(named: str, make: Callable[[Path], None], quick: bool) -> Iterator[Line]:
    """Yield the cost of each stage of one task; its memory is bounded as that of many rows."""
    folder = FOLDER / "once"
    make(folder)
    for name, cost in _run(folder, ("configure", "prepare", "train") if quick else STAGES):
        yield from _printed(f"{named}: {name}", cost, bounded=True)


def _printed(name: str, cost: Cost, *, bounded: bool = False) -> Iterator[Line]:
    memory = cost.memory
    print(f"scale: {name}: {cost.seconds:.1f} s, {cost.busy:.1f} s of processors, {memory:.2f} GB", flush=True)
    yield Line(f"{name}, seconds", cost.seconds, "printed", True)
    bound = f"<= {GIGABYTES:g}" if bounded else "printed"
    yield Line(f"{name}, GB", memory, bound, not bounded or memory <= GIGABYTES)


def _run(folder: Path, stages: Sequence[str]) -> Iterator[tuple[str, Cost]]:
    """Run stages one after the other and yield the cost of each."""
    (folder / "build").mkdir()
    (folder / "build/champion.json").write_text("null")
    if "tune" not in stages:
        (folder / "build/tuning").mkdir()
        best = {"width": 128, "depth": 2, "learning_rate": 0.002}
        chosen = {
            "trial": "0",
            "epoch": 1,
            "objective": 0.5,
            "hyperparameters": best,
            "outcome": "",
            "stopped": False,
            "why": "",
        }
        (folder / "build/tuning/best.json").write_text(json.dumps(chosen))
    for name in stages:
        yield name, _cost([sys.executable, "-m", f"scripts.{name}"], folder)


def _cost(command: Sequence[str], folder: Path) -> Cost:
    begun = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise SystemExit(f"scale: {' '.join(command[1:])} ended with code {code} in {folder}")
    return Cost(time.monotonic() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6)


def _overhead(rows: int, trials: int, epochs: int) -> Iterator[Line]:
    """Yield the seconds of a search, of a plain script with the same trials, and what the search takes beyond it."""
    folder = FOLDER / "trials"
    large.many_rows(folder, rows, trials, epochs)
    tuned = dict(_run(folder, ("configure", "prepare", "tune")))["tune"]
    alone = _cost([sys.executable, "-m", "benchmarks.scale", "plain"], folder)
    print(f"scale: {trials} trials: {tuned.seconds:.1f} s by tune, {alone.seconds:.1f} s by Keras alone", flush=True)
    yield Line(f"{trials} trials by tune, seconds of processors", tuned.busy, "printed", True)
    yield Line("the same trials by a plain Keras script, seconds of processors", alone.busy, "printed", True)
    share = tuned.busy / alone.busy - 1
    yield Line("what tune takes beyond them, as a share", share, f"<= {OVERHEAD:g}", share <= OVERHEAD)


def plain() -> int:
    """Repeat the trials of the search in this folder with Keras alone, as a script that knows nothing of a pipeline."""
    import keras
    import keras_tuner
    import pandas as pd
    import tensorflow as tf
    import yaml

    sys.path.insert(0, str(Path.cwd()))
    from model import FEATURES
    from model.features import encoder as make
    from model.network import build

    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    tf.config.experimental.enable_op_determinism()
    tables = [pd.read_parquet(f"build/data/{part}.parquet") for part in ("train", "validation")]
    encoder, parts = make(tables[:1]), []
    for table in tables:
        kinds = {name: object if kind == "string" else kind for name, kind in FEATURES.items()}
        fields = {name: tf.constant(table[name].to_numpy(kinds[name]), kind) for name, kind in FEATURES.items()}
        inputs = {name: each.numpy() for name, each in encoder(fields).items()}
        parts.append((inputs, table["y"].to_numpy()[:, None]))
    settings = yaml.safe_load(Path("pipeline.yaml").read_text())
    epochs, size = settings["tuning"]["epochs"], settings["training"]["batch_size"]
    for values in large.trials(Path()):
        keras.backend.clear_session()
        keras.utils.set_random_seed(1)
        space = keras_tuner.HyperParameters()
        space.values = dict(values)
        network = build(space, encoder)
        network.fit(*parts[0], validation_data=parts[1], epochs=epochs, batch_size=size, verbose=0)
    return 0


if __name__ == "__main__":
    sys.exit(plain() if sys.argv[1:] == ["plain"] else main())
