"""Compare traffic with the served model's reference and give a verdict per feature: build/monitoring/.

On a cluster that is what gateways captured, and elsewhere what the file monitoring.log holds, if it is
monitoring.min_rows rows or more. Where no real users are, the days after as_of are sent through the served model first,
and that is said. Reads build/settings.yaml, the serving release and what was captured, or build/data/traffic.parquet.
Writes monitoring.json and requests.parquet (what was asked and answered). Drift is a finding, not a failure: the exit
code is 0.

A line of the log that is no captured request is named, counted as unreadable and left out; a file that has none is no
log.

Captured requests are kept by day in history.folder, as a gateway holds the last ones only. With --captured nothing is
sent: too few requests, or none, are told as such. That is for whoever watches users and has no data, such as the
CronJob of k8s/components/monitoring.
"""

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ci.command import listed, parser, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import pandas as pd

    from ci.settings import Settings


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "monitor")
    arguments.add_argument("--captured", action="store_true", help="judge what was captured, however little that is")
    options = arguments.parse_args(argv)
    return run(lambda: monitor(only_captured=options.captured))


def monitor(*, only_captured: bool) -> None:
    """Check the window of traffic and print the verdict."""
    from pathlib import Path

    from ci import clock, configuration, task, workspace
    from ci.capture import log
    from ci.monitoring import memory, shadow
    from ci.monitoring.checks import refused
    from ci.monitoring.known import judged, outcomes, service
    from ci.monitoring.monitor import captured, monitor, nothing, simulated
    from ci.monitoring.retraining import apart, asks
    from ci.results.evaluation import REFERENCE, of_any_version
    from ci.results.monitoring import MONITORING, Watched
    from ci.rollout import place as places

    settings = configuration.effective()
    place = places.look(settings)
    release = place.watched()
    reference = of_any_version(REFERENCE.plain(place.ledger.evidence(release["digest"]) / "reference.json"))
    wanted = task.load()
    if changed := shadow.adopt(settings, release["digest"]):
        print(f"monitor: {changed}")
    now, file = clock.now(), settings.monitoring.log
    told = place.where.watched(release["version"]) if place.where.shares and file is None else {}
    entries, wrong = log.read(Path(file)) if file else ({pod: said["captured"] for pod, said in told.items()}, [])
    listed("monitor", wrong, "lines")
    keeping = kept(settings, release["version"], now)
    digest = release["digest"]
    before = [each for each in memory.watched(settings.history) if each.release == digest]
    traffic, counts = captured(entries, wanted, settings.monitoring, now, keeping, before)
    if wrong:
        counts["unreadable"] = counts.get("unreadable", 0) + len(wrong)
    if only_captured and traffic is None:
        traffic = nothing(wanted, now)
    with ExitStack() as until_read:
        if traffic is None or (traffic.rows < settings.monitoring.min_rows and not only_captured):
            rows = 0 if traffic is None else traffic.rows
            print(f"monitor: {rows} rows of users' requests were captured: the days after as_of stand in for them")
            addresses = until_read.enter_context(place.where.addresses(release["digest"], public=True))
            traffic = simulated(f"{addresses[0]}/v1/models/{release['model']}", wanted)
        else:
            said = ", ".join(f"{number} {what}" for what, number in counts.items())
            print(f"monitor: captured requests: {said or 'none new'}")
        window = traffic.window
        last = next(apart(before, window), None)
        result = monitor(
            settings,
            traffic,
            reference,
            wanted,
            others=[
                *refused(counts, wrong[0] if wrong else None),
                *outcomes(settings),
                *service(settings, told, now),
                *judged(settings, wanted, reference, release["version"]),
                *shadow.look(settings, wanted, release["digest"], release["version"]),
            ],
            before=last.shown if last else {},
        )
    seen = MONITORING.read()
    asked = asks(seen, settings.retraining)[0] is not None
    ended = seen.source == "captured" and window.end <= now.date()  # later rows of a day that goes on are not late
    memory.watch(
        Watched(
            release=digest,
            window=seen.window,
            verdict=seen.verdict,
            asks=asked,
            shown=seen.shown,
            rows=seen.rows if ended else 0,
        ),
        settings.history,
    )
    first, end = result["window"]["first"], result["window"]["end"]
    days = f" of {first} to {end} (excluded)" if first < end else ""
    print(f"monitor: {result['rows']} requests{days} went through release {release['release']}")
    for column in [*result["features"], *result["predictions"]]:
        if column["verdict"] not in ("stable", "too few rows"):
            print(f"  {column['name']}: {column['verdict']}, PSI {column['psi']:.3f}; {column['change']}")
    for check in result["checks"]:
        loud = check["verdict"] != "ok" and check["kind"] in ("data", "performance", "service")
        if loud or check["kind"] == "shadow":
            print(f"  {check['verdict']}: {check['sentence']} ({check['method']})")
    print(f"monitor: {result['verdict']}: {result['reason']} -> {workspace.MONITORING}")


def kept(settings: "Settings", version: str, now: "datetime") -> "Callable[[pd.DataFrame], pd.DataFrame]":
    """Return what keeps newly captured requests, and gives all of a version that a window may reach back to."""

    def keeping(new: "pd.DataFrame") -> "pd.DataFrame":
        from ci.capture import records
        from ci.monitoring import cohorts, memory, windows

        with memory.requests(settings.history) as folder:
            cohorts.add(folder, new, settings.history.request_days, now.date())
            every = cohorts.read(folder, windows.reach(now, settings.monitoring.period_days))
        return every if every.empty else every[every[records.VERSION].isin([version, None])]

    return keeping


if __name__ == "__main__":
    sys.exit(main())
