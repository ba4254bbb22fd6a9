"""Try everything that model/ provides on a few rows, in seconds and before any search: what is wrong, and the fix.

Reads build/settings.yaml and the data source, and writes nothing. It checks declarations, schema and model card, makes
the encoder and the network, fits for a step, saves and loads the model, asks it and the stand-in server for the same
rows, and runs metrics and behaviour checks. Exit code 0: all of it fits; 2: something does not.
"""

import sys

from ci.command import parser, run


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser(__doc__, "check").parse_args(argv)
    return run(check)


def check() -> None:
    """Check, and say what was tried."""
    from ci import configuration
    from ci.run.check import check

    for sentence in check(configuration.effective()):
        print(f"check: {sentence}")
    print("check: model/ fits the pipeline; next: `make ci`")


if __name__ == "__main__":
    sys.exit(main())
