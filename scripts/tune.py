"""Search for the best hyperparameters on the validation rows: build/tuning/.

Reads build/settings.yaml, build/data/ and the search space in model/network.py. Writes best.json, which the train
stage reads, every trial with its outcome and why it was picked (trials.json, trials.csv), what matters
(fit.json). A search that was interrupted continues: its state is in build/state/tuning/.

With tuning.workers above 1 a chief and workers are started on this machine. On a cluster each pod runs this same
command with keras-tuner's variables KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT set.
"""

import sys

from ci.command import command, may_compute


def tune() -> None:
    """Search and say what was found."""
    may_compute()  # first: a pod that only asks has not all that the rest imports
    from ci import configuration, workspace
    from ci.tuning.search import tune

    settings = configuration.effective()
    best = tune(settings)
    if best is None:
        print("tune: the search is over, this worker ends")
        return
    values = ", ".join(f"{name} {value}" for name, value in best.hyperparameters.items())
    print(f"tune: best {settings.tuning.objective.name} {best.objective} with {values} -> {workspace.TUNING}")


main = command(__doc__, tune)

if __name__ == "__main__":
    sys.exit(main())
