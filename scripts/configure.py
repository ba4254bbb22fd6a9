"""Check pipeline.yaml and what model/ declares, apply overrides, and write build/settings.yaml.

Every later stage reads build/settings.yaml, so what a build ran with can always be looked up there; the overrides
alone are in build/overrides.json, for the retrain stage.
Overrides are typed and checked like the file: --set tuning.max_trials=30 --set as_of=2013-07-01
The environment variable PIPELINE_SET may hold more, one KEY=VALUE per line, applied before those of the command
line; a line without a value, such as `as_of=`, overrides nothing. Jenkins passes the parameters of a build in variables
that begin with PARAMETER_, which come first; see docs/jenkins.md.
After an update, --migrate brings an older file to the newest `schema_version`, and shows what it changes in it.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from ci.command import parser, run
from ci.errors import InputError


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "configure")
    arguments.add_argument("--file", type=Path, default=Path("pipeline.yaml"), help="settings file (pipeline.yaml)")
    arguments.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="override one key; repeatable"
    )
    arguments.add_argument("--schema", action="store_true", help="print the JSON schema of the settings and stop")
    arguments.add_argument(
        "--explain",
        nargs="?",
        const="",
        metavar="KEY",
        help="print a table of all keys, or of those below KEY, with unit, bounds, default and meaning, and stop",
    )
    arguments.add_argument(
        "--migrate", action="store_true", help="bring the file to the newest schema_version and stop"
    )
    options = arguments.parse_args(argv)
    if options.migrate:
        return run(lambda: migrate(options.file))
    if options.explain is not None:
        return run(lambda: explain(options.explain))
    return run(lambda: configure(options.file, options.overrides, schema=options.schema))


def explain(key: str) -> None:
    """Print what there is to know about a key, about a section's keys, or about all (an empty text).

    Raises:
        InputError: there is no such key.
    """
    from ci import configuration, manual

    found = [entry for entry in manual.entries() if f"{entry.key}.".startswith(f"{key}." if key else "")]
    if not found:
        raise InputError(
            f"--explain {key}: there is no such key; did you mean {configuration.nearest(tuple(key.split('.')))}?"
        )
    print(manual.table(found, shutil.get_terminal_size((160, 24)).columns))


def migrate(file: Path) -> None:
    """Write the settings file in the newest structure, and print what that changes; a file that has it stays."""
    import tempfile

    from ci import configuration, migration, reading, workspace

    before = reading.text(file)
    after = migration.migrate(before, file)
    if after == before:
        print(f"configure: {file} has schema_version {migration.NEWEST}, the newest: nothing to do")
        return
    with tempfile.TemporaryDirectory() as folder:  # what could not be read afterwards is not written
        workspace.write_text(Path(folder) / file.name, after)
        configuration.read(Path(folder) / file.name)
    print(migration.difference(before, after, file), end="")
    workspace.write_text(file, after)
    print(f"configure: {file} has schema_version {migration.NEWEST} now; commit it, or `git checkout -- {file}`")


def configure(file: Path, overrides: list[str], *, schema: bool) -> None:
    """Write the effective settings, or print their schema."""
    from ci import configuration, lineage, parameters, reading, task, workspace
    from ci.monitoring import memory, names
    from ci.quality import metrics
    from ci.results.build import OVERRIDES, SOURCE
    from ci.settings import Settings

    if schema:
        print(json.dumps(Settings.model_json_schema(), indent=2))
        return
    given = parameters.from_lines(os.environ.get(parameters.VARIABLE, ""), parameters.VARIABLE)
    overrides = [*parameters.overrides(os.environ, file), *given, *overrides]
    settings = configuration.read(file, overrides)
    if Path("model").is_dir():  # what it declares is refused here, and not after hours of search
        wanted = task.load()
        metrics.require(settings.gates, wanted)
        names.require(settings.monitoring, wanted, file)
    memory.require(settings, file, os.environ)
    words = Path("model/card.md")  # without it there is no package, which says what to write
    card, source = reading.content(words) if words.exists() else b"", lineage.source(settings.source)
    source["weights"] = lineage.source(settings.weights, "data.weights")["digest"]
    workspace.write_bytes(workspace.CARD, card)
    SOURCE.write(source)
    OVERRIDES.write(overrides)
    workspace.write_text(workspace.SETTINGS, configuration.dump(settings))
    changed = f", {len(overrides)} overridden" if overrides else ""
    print(f"configure: {file}{changed} -> {workspace.SETTINGS} (model {settings.model.name}, as of {settings.as_of})")


if __name__ == "__main__":
    sys.exit(main())
