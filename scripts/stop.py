"""End what serves on this machine, after the requests that are under way; does nothing if nothing does."""

import sys

from ci.command import command


def stop() -> None:
    """Stop and say what was stopped."""
    from ci import configuration, workspace
    from ci.releases import machine
    from ci.rollout.local import servers
    from ci.settings.cluster import Rollout

    drain_timeout = (configuration.effective().rollout if workspace.SETTINGS.exists() else Rollout()).drain_timeout
    with machine.all_alone():
        for line in servers.stop(drain_timeout) or ["nothing was serving"]:
            print(f"stop: {line}")


main = command(__doc__, stop)

if __name__ == "__main__":
    sys.exit(main())
