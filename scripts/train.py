"""Train the final model with the best hyperparameters: build/model/.

Reads build/settings.yaml, build/data/ and build/tuning/best.json. Writes saved_model/, which takes raw named fields,
and training.json with the curves. The same inputs give the same bytes on the same kind of processor.
"""

import sys

from ci.command import command


def train() -> None:
    """Train and say what came of it."""
    from ci import configuration, workspace
    from ci.training.train import train

    result = train(configuration.effective())
    print(f"train: {result['parameters']} parameters, best epoch {result['best_epoch']} -> {workspace.MODEL}")


main = command(__doc__, train)

if __name__ == "__main__":
    sys.exit(main())
