"""Tell people how the build of a pull request went: build/report/summary.md, to whom `notify` of pipeline.yaml says.

A comment on GitHub or GitLab, a message to a webhook that takes Slack's format, or a file; as shipped, nobody is told.
Reads CHANGE_ID and BUILD_URL, which Jenkins sets, and NOTIFY_TOKEN: the token, or the whole address of the webhook.

Exit codes: 0 told, or nobody is to be told; 1 the message did not arrive; 2 bad input.
"""

import sys
from pathlib import Path

from ci.command import command


def notify() -> None:
    """Tell, and say whom."""
    from ci import configuration, workspace
    from ci.report import notify as messages

    settings = configuration.read(Path("pipeline.yaml")).notify
    print(f"notify: told {messages.notify(settings, workspace.REPORT / 'summary.md')}")


main = command(__doc__, notify)

if __name__ == "__main__":
    sys.exit(main())
