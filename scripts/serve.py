"""Make sure that the last verified release serves, and print a command that asks it for a prediction.

Where the last build's model is served from a cluster (serving.context), nothing is started here: this says how it is
reached from this machine.
"""

import json
import shlex
import sys
from datetime import UTC, datetime

from ci.command import environment, parser, run


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "serve")
    environment(arguments)
    options = arguments.parse_args(argv)
    return run(lambda: serve(options.environment))


def serve(named: str | None) -> None:
    """Start the server if it does not run, and say how to ask it."""
    from ci import configuration
    from ci.kube.context import chosen
    from ci.releases.machine import MachineLedger
    from ci.results.evaluation import sent
    from ci.rollout import deploy

    settings = configuration.effective(named)
    if context := chosen(None, settings.serving.context):
        from ci.run.executor import asking

        print(f"serve: {asking.from_here(settings, context)}")
        return
    release = deploy.serve(settings, lambda: datetime.now(UTC))
    version = MachineLedger(settings.environment).version(release["digest"])
    body = json.dumps({"instances": sent(version.instances[:1])})  # ASCII: any console can show it
    url = f"http://127.0.0.1:{settings.serving.port}/v1/models/{release['model']}:predict"
    print(f"serve: version {release['version']} (release {release['release']}); ask it with")
    print(f"curl -d {shlex.quote(body)} {url}")


if __name__ == "__main__":
    sys.exit(main())
