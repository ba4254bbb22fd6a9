"""Say what serves, here or on a cluster: the last verified release, what else runs, who deploys now, what was changed.

A `kubectl rollout undo` by hand is noticed and named. Nothing is changed. Exit codes: 0 the last verified release is
all that runs; 1 it is not, or cannot be seen; 2 bad input.
"""

import sys

from ci.command import environment, parser, run


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "status")
    arguments.add_argument("--context", help="the cluster of this kubeconfig context (`-`: the current one)")
    environment(arguments, "all")
    options = arguments.parse_args(argv)
    return run(lambda: status(options.environment, options.context))


def status(named: str | None, context: str | None) -> int:
    """Print the status of one environment, or of all; return the exit code."""
    from ci import configuration
    from ci.monitoring import memory
    from ci.rollout import place as places

    settings, well = configuration.effective(named), True
    for each in [settings] if named else [settings.at(name) for name in settings.environments] or [settings]:
        found = places.look(each, context).status()
        print("\n".join(f"status: {line}" if number == 0 else f"  {line}" for number, line in enumerate(found.lines)))
        well = well and found.well
    if kept := memory.shadow(settings.history).read_if_there():
        said = kept.found.sentence if kept.found else "it waits for labels"
        print(f"status: version {kept.version} is the champion's shadow: {said}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
