"""Write the pod that Jenkins runs the training stages in to build/agent.json.

It is ci/agents/training.yaml with resources.training of build/settings.yaml as requests and limits.
"""

import sys

from ci.command import parser, run


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser(__doc__, "agent").parse_args(argv)
    return run(agent)


def agent() -> None:
    """Write the pod."""
    from ci import configuration, workspace
    from ci.agents import pod

    request = configuration.read(workspace.require(workspace.SETTINGS)).resources.training
    workspace.write_json(workspace.AGENT, pod.sized(pod.read(pod.TRAINING), request))
    print(f"agent: {pod.TRAINING} with {request.cpu} CPU, {request.memory} -> {workspace.AGENT}")


if __name__ == "__main__":
    sys.exit(main())
