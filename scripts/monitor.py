"""Compare traffic with the served model's reference and give a verdict per feature: build/monitoring/.

Where no real users are, the days after as_of are sent through the served model first. Reads build/settings.yaml,
build/data/traffic.parquet and the serving release. Writes monitoring.json and requests.parquet (what was asked and
answered). Drift is a finding, not a failure: the exit code is 0.
"""

import sys

from ci.command import parser, run


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser(__doc__, "monitor").parse_args(argv)
    return run(monitor)


def monitor() -> None:
    """Watch the window and say what was found."""
    from ci.rollout import local, releases

    from ci import configuration, workspace
    from ci.monitoring.monitor import monitor

    settings = configuration.effective()
    release = local.serving_release(settings)
    result = monitor(settings, local.url(settings), releases.reference(release))
    first, end = result["window"]["first"], result["window"]["end"]
    print(f"monitor: {result['rows']} flights of {first} to {end} (excluded) went through release {release['release']}")
    for column in [*result["features"], result["prediction"]]:
        if column["verdict"] not in ("stable", "too few rows"):
            print(f"  {column['name']}: {column['verdict']}, PSI {column['psi']:.3f}; {column['change']}")
    print(f"monitor: {result['verdict']}: {result['reason']} -> {workspace.MONITORING}")


if __name__ == "__main__":
    sys.exit(main())
