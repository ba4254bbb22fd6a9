"""The two ways a stage can end badly; `ci.command` turns them into exit codes and one-line messages."""


class InputError(Exception):
    """What the user gave is wrong: names the file, key, line and the fix. Exit code 2."""


class StageError(Exception):
    """The input was right but the stage could not do its work, or refuses its result. Exit code 1."""
