"""Join outcomes that arrived late with the requests that were captured, and make mature days the next build's data.

Reads build/settings.yaml, the requests that the last monitor stage read, and labels.outcomes: a table or folder with
the request's id (or labels.key), the target columns, and when each became known. A missing target says that there will
be no label. A row that cannot be used is named, counted and left out. Requests and outcomes are kept in history.folder,
so both may come in any order and several times. Of several outcomes of a request the one that became known last counts.

Days whose labels have come (labels.maturity_days, or an estimate) are written to labels.into, which DVC tracks. The
first day after them is the watermark: the retrain stage uses it as as_of, and labels.into as data.source. Where
labels.into lies outside of the repository, as on a volume that builds mount too, DVC does not track it.
"""

import subprocess
import sys

from ci.command import listed, parser, run


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "labels")
    arguments.add_argument(
        "--if-any", action="store_true", help="end well also where no outcomes are named or there are none now"
    )
    options = arguments.parse_args(argv)
    return run(lambda: labels(if_any=options.if_any))


def labels(*, if_any: bool) -> int:
    """Join, publish, and say what was found."""
    from pathlib import Path

    import pandas as pd

    from ci import clock, configuration, task, workspace
    from ci.capture import records
    from ci.errors import InputError
    from ci.monitoring import cohorts, memory, outcomes
    from ci.monitoring.labels import in_words, join, mature, maturity, watermark
    from ci.results.monitoring import Labels
    from ci.run.dvc import COMMAND

    settings = configuration.effective()
    wanted, chosen = task.load(), settings.labels
    if chosen.outcomes is None:
        if not if_any:
            raise InputError("labels.outcomes: name the table or folder in which outcomes arrive")
        print("labels: no outcomes have come: labels.outcomes names none")
        return 0
    none = if_any and not outcomes.there(Path(chosen.outcomes))
    if none and not memory.labels(settings.history).path.exists():
        print("labels: no outcomes have come")
        return 0
    seen = cohorts.stored(workspace.MONITORING / "requests.parquet")
    key = chosen.key or [records.ID]
    if missing := [name for name in chosen.key if name not in wanted.features]:
        raise InputError(f"labels.key: {missing[0]} is no field that the task in model/ declares")
    if Path(chosen.into).resolve() == (Path(settings.history.folder) / "requests").resolve():
        raise InputError(f"labels.into: {chosen.into} holds the requests that are kept: name another folder")
    names = [*(chosen.key or [chosen.id]), *wanted.targets]
    texts = [] if chosen.key else [chosen.id]
    if none:  # what had come was taken up; further days become mature all the same
        arrived = outcomes.Outcomes(pd.DataFrame(columns=[*names, chosen.known]), [])
    else:
        arrived = outcomes.read(Path(chosen.outcomes), names, chosen.known, texts, wanted.outputs, clock.now())
    listed("labels", arrived.unusable, "rows")
    with memory.requests(settings.history) as folder:
        if records.ID not in seen and not folder.exists():
            raise InputError("build/monitoring/ holds simulated requests: there are no outcomes to come of them")
        requests = cohorts.collect(folder, seen) if records.ID in seen else cohorts.read(folder)
        found = arrived.table.rename(columns={chosen.id: records.ID})
        joined = join(requests, found, key, wanted.targets, chosen.known)
        cohorts.keep(folder, joined.table)
    now = clock.now()
    days, method = chosen.maturity_days, "declared"
    if days is None:
        days, method = (
            maturity(joined, wanted.targets, now, chosen.quantile),
            f"quantile {chosen.quantile} of the delay",
        )
    until = watermark(joined, now, days)
    by_day: dict[str, int] = {}
    if until is not None:
        cohorts.publish(Path(chosen.into), joined, until, [*wanted.features, *wanted.targets], wanted.time)
        ready = mature(joined, until).dropna(subset=list(wanted.targets))
        by_day = ready[records.TIME].dt.strftime("%Y-%m-%d").value_counts().sort_index().to_dict()
    counts, number = {**joined.counts, "unusable": len(arrived.unusable)}, len(arrived.table) + len(arrived.unusable)
    told = Labels(counts=counts, outcomes=number, unusable=next(iter(arrived.unusable), None), maturity_days=days,
                  method=method, watermark=until, labelled=by_day, source=chosen.into)  # fmt: skip
    print(f"labels: {in_words(counts)}; a day is mature after {days} days ({method}); as of {until}")
    inside = Path(chosen.into).resolve().is_relative_to(Path.cwd())
    if until is not None and inside:
        code = subprocess.run([*COMMAND, "add", "--", chosen.into], check=False).returncode
        if code:
            return code
    memory.labels(settings.history).write(told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
