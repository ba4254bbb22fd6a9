"""Check what a Jenkins build is asked for, and write what it does, in words: build/does.txt.

Parameters come in variables that begin with PARAMETER_, such as PARAMETER_AS_OF; docs/jenkins.md lists them. What the
build does follows from them, from the branch (BRANCH_NAME, CHANGE_ID) and from pipeline.yaml. The words are those that
the Jenkinsfile asks for: train, release, check, notify, rollback, promote, approve.

Exit code 2: a parameter cannot be; the message names it, and the build ends before anything has started.
"""

import os
import sys
from pathlib import Path

from ci.command import command


def request() -> None:
    """Write what the build does."""
    from ci import parameters, workspace

    words = parameters.decide(os.environ, Path("pipeline.yaml"))
    workspace.write_text(workspace.DOES, f"{' '.join(words)}\n")
    print(f"request: this build does: {', '.join(words)} -> {workspace.DOES}")


main = command(__doc__, request)

if __name__ == "__main__":
    sys.exit(main())
