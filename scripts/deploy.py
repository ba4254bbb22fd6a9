"""Roll the package out: build/package/ becomes what serves, if its evaluation says so; writes build/rollout/.

The new version starts beside the old one, must pass a smoke test and reproduce the golden predictions, and then takes
over the port without losing a request. If anything fails, or it is interrupted before the new version is a release, the
old version keeps serving. A deployment that was killed continues when it is run again. What it waits for, and how each
step went, is said while it goes on; build/rollout/ has every step (steps.jsonl), what came of it (rollout.json), and
the same as test results (junit.xml); the report shows it as a picture.

Exit codes: 0 deployed, or nothing to do (the image serves already, or the verdict is keep); 1 a check failed, the
package was changed, or the verdict is block; 2 bad input, such as a port that another program holds.
"""

import sys
from datetime import UTC, datetime

from ci.command import end_in_order, parser, run, seconds


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "deploy")
    arguments.add_argument("--dry-run", action="store_true", help="print what would be done and stop")
    arguments.add_argument("--context", help="deploy to the cluster of this kubeconfig context (`-`: the current one)")
    arguments.add_argument("--wait", type=seconds, default=0.0, help="seconds to wait for another deployment there (0)")
    options = arguments.parse_args(argv)
    return run(lambda: deploy(options.context, options.wait, dry_run=options.dry_run))


def deploy(context: str | None, wait: float, *, dry_run: bool) -> None:
    """Deploy, or say what would be done."""
    from ci import configuration
    from ci.rollout import deploy as rollout

    end_in_order()
    settings = configuration.effective()

    def clock() -> datetime:
        return datetime.now(UTC)

    did = rollout.preview(settings, clock, context) if dry_run else rollout.deploy(settings, clock, context, wait)
    print(f"deploy: {did}")


if __name__ == "__main__":
    sys.exit(main())
