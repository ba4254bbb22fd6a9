"""Search for the best hyperparameters on the validation days: build/tuning/.

Reads build/settings.yaml, build/data/ and the search space in model/network.py. Writes best.json, which the train
stage reads, and trials.json, every trial with its hyperparameters and objective.
"""

import sys

from ci.command import parser, run


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser(__doc__, "tune").parse_args(argv)
    return run(tune)


def tune() -> None:
    """Search and say what was found."""
    from ci import configuration, workspace
    from ci.tuning.search import tune

    settings = configuration.effective()
    best = tune(settings)
    values = ", ".join(f"{name} {value}" for name, value in best["hyperparameters"].items())
    print(f"tune: best {settings.tuning.objective.name} {best['objective']} with {values} -> {workspace.TUNING}")


if __name__ == "__main__":
    sys.exit(main())
