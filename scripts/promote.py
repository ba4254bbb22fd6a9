"""Roll out in the next environment what was verified in the one before: the very image, not built or trained again.

`environments` of pipeline.yaml has their order. What is taken is the last release of the environment before, or the
image that --digest names; an image that was never verified there, that was rolled back there, or that is older than
what serves is refused, and so is one whose evaluation was about another champion than there is now. Where the
environment has `approval: true`, --approved-by names who gave it, which its record keeps. Writes build/rollout/.

--candidate writes the image that would be taken, build/candidate.txt, and promotes nothing: who is asked about that
image approves just that one, if it is named with --digest afterwards.

Exit codes: 0 promoted, or nothing to do (the image serves there already); 1 it is refused, or failed a check and what
served before serves; 2 bad input.
"""

import re
import sys
from datetime import UTC, datetime

from ci.command import end_in_order, parser, run, seconds

_LONGEST = 100
"""Characters of a name."""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "promote")
    arguments.add_argument("--to", required=True, metavar="ENVIRONMENT", help="the environment to roll out in")
    arguments.add_argument("--digest", default="", help="of the image (the last one that was verified before)")
    arguments.add_argument("--approved-by", default="", metavar="NAME", help="who has approved it")
    arguments.add_argument("--candidate", action="store_true", help="write which image would be taken, and stop")
    arguments.add_argument("--dry-run", action="store_true", help="print what would be done and stop")
    arguments.add_argument("--wait", type=seconds, default=0.0, help="seconds to wait for another deployment there (0)")
    options = arguments.parse_args(argv)
    if options.candidate:
        return run(lambda: candidate(options.to, options.digest))
    return run(lambda: promote(options.to, options.digest, options.approved_by, options.wait, dry_run=options.dry_run))


def candidate(to: str, digest: str) -> None:
    """Write what would be promoted."""
    from ci import configuration, workspace
    from ci.rollout import promote as rollout

    _check(digest)
    found = rollout.candidate(configuration.effective(), to, digest or None)
    workspace.write_text(workspace.CANDIDATE, f"{found['digest']}\n")
    print(f"promote: version {found['version']}, {found['digest']}, for {to} -> {workspace.CANDIDATE}")


def promote(to: str, digest: str, approved_by: str, wait: float, *, dry_run: bool) -> None:
    """Promote, or say what would be done."""
    from ci import configuration
    from ci.errors import InputError
    from ci.rollout import promote as rollout

    end_in_order()
    _check(digest)
    name = approved_by.strip()
    if len(name) > _LONGEST or not name.isprintable():
        raise InputError(f"--approved-by: {name[:80]!r}: expected a name of up to {_LONGEST} printable characters")
    settings = configuration.effective()
    did = rollout.promote(settings, lambda: datetime.now(UTC), to, digest or None, name or None, wait, dry_run=dry_run)
    print(f"promote: {did}")


def _check(digest: str) -> None:
    from ci.errors import InputError

    if digest and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise InputError(f"--digest: {digest[:80]!r} is none: expected sha256: and 64 hexadecimal digits")


if __name__ == "__main__":
    sys.exit(main())
