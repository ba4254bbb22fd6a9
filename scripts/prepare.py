"""Read the task's data, check them against its schema, divide them into parts and describe them: build/data/.

Reads build/settings.yaml and the data source. Writes train, validation, holdout and traffic as Parquet, summary.json
(windows, counts, fingerprint), schema.json (what was checked and found) and reference.json (for drift).
"""

import sys

from ci.command import command, may_compute


def prepare() -> None:
    """Prepare the data and say what came of it."""
    may_compute()  # first: a pod that only asks has not all that the rest imports
    from ci import configuration, workspace
    from ci.data.prepare import prepare

    summary = prepare(configuration.effective())
    source = summary["source"]
    parts = ", ".join(f"{part} {count}" for part, count in summary["rows"].items())
    print(f"prepare: {source['rows']} rows, {source['unlabelled']} of them without a label and left out")
    for note in summary["notes"]:
        print(f"prepare: {note}")
    print(f"prepare: as of {summary['as_of']}: {parts} -> {workspace.DATA}")


main = command(__doc__, prepare)

if __name__ == "__main__":
    sys.exit(main())
