"""Bring an earlier release back: the newest that was not rolled back itself, or the release named with --to.

It starts beside what serves, must pass the smoke test, and takes over without losing a request; its traffic is not
analysed first, because it was verified before. This is recorded as a release of its own, and the pipeline does not
deploy the version that was rolled back again by itself. Writes build/rollout/.

Exit codes: 0 it serves; 1 there is none to go back to, or it failed a check and what served before serves; 2 bad input.
"""

import sys
from datetime import UTC, datetime

from ci.command import end_in_order, environment, parser, run, seconds


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "rollback")
    arguments.add_argument(
        "--to", type=int, metavar="RELEASE", help="number of the release (`scripts.status` lists them)"
    )
    arguments.add_argument("--dry-run", action="store_true", help="print what would be done and stop")
    arguments.add_argument("--context", help="the cluster of this kubeconfig context (`-`: the current one)")
    arguments.add_argument("--wait", type=seconds, default=0.0, help="seconds to wait for another deployment there (0)")
    environment(arguments, "must be named where there are several; an empty text is the first")
    options = arguments.parse_args(argv)
    where = (options.environment, options.context)
    return run(lambda: rollback(options.to, *where, options.wait, dry_run=options.dry_run))


def rollback(to: int | None, named: str | None, context: str | None, wait: float, *, dry_run: bool) -> None:
    """Roll back, or say what would be done."""
    from ci import configuration
    from ci.errors import InputError
    from ci.rollout import deploy as rollout

    end_in_order()
    settings = configuration.effective(named or None)
    if named is None and len(settings.environments) > 1:
        known = ", ".join(settings.environments)
        raise InputError(f"--environment: name where a release is to come back: {known}")
    did = rollout.rollback(settings, lambda: datetime.now(UTC), to, context, wait, dry_run=dry_run)
    print(f"rollback: {did}")


if __name__ == "__main__":
    sys.exit(main())
