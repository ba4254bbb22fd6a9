"""What a Jenkins build is asked for: its parameters, checked, its branch, and what the build does because of them.

Parameters are untrusted text. The Jenkinsfile passes each as it was typed, in a variable of its own. People's own
overrides are in `PIPELINE_SET` and on the command line.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ci import configuration
from ci.errors import InputError
from ci.settings import Settings
from ci.stages import CACHED

PREFIX = "PARAMETER_"
"""What the names of those variables begin with. Jenkins' own variables of parameters have their text changed."""
KEYS = {
    "AS_OF": "as_of",
    "STRATEGY": "tuning.strategy",
    "MAX_TRIALS": "tuning.max_trials",
    "WORKERS": "tuning.workers",
}
"""The parameters that override one setting, and the setting."""
FIXED = ("environments", "jenkins", "notify", "release_branch", "serving.context", "serving.overlay")
"""Settings that no parameter overrides: who starts a build does not choose where it releases, or who must approve."""
VARIABLE = "PIPELINE_SET"
"""Variable with overrides of whoever runs a command, one KEY=VALUE a line: see `scripts.configure`."""
PULL_REQUEST = "CHANGE_ID"
"""Variable with the number of a pull request. Jenkins sets it in builds of pull requests only."""
_LONGEST = 10_000
"""Characters of a parameter at most."""
_SHOWN = 80
_RELEASE = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Request:
    """What a build is asked for.

    Attributes:
        branch: what is built; None in a job that builds one branch only, the one that it was set up for.
        pull_request: whether it is a pull request's.
        deploy: `auto` or `yes`, to release a model that its tests promote, or `no`.
        rollback: number of the release to bring back, or empty.
        promote: the environment to promote to, or empty.
        environment: where to roll back; empty for the first environment.
        given: names of the other parameters that were given.
    """

    branch: str | None = None
    pull_request: bool = False
    deploy: str = "auto"
    rollback: str = ""
    promote: str = ""
    environment: str = ""
    given: tuple[str, ...] = ()


def decide(variables: Mapping[str, str], file: Path) -> tuple[str, ...]:
    """Return what a build does, as `does` does, after every parameter was checked.

    Args:
        variables: of the environment.
        file: the settings file.

    Raises:
        InputError: something cannot be; the message names the parameter.
    """
    words = does(read(variables), configuration.read(file), file)
    settings = configuration.read(file, overrides(variables, file))
    if "tune" in forced(variables) and settings.tuning.workers > 1:
        raise InputError("FORCE: tune: a Job of several workers never runs a finished trial again: change the seed")
    return words


def read(variables: Mapping[str, str]) -> Request:
    """Return what a build is asked for.

    Raises:
        InputError: a parameter has a value that it never takes, or the branch's name is not to be relied on.
    """
    values = {name: _line(variables, name) for name in ("DEPLOY", "ROLLBACK", "PROMOTE", "ENVIRONMENT")}
    if values["DEPLOY"] not in ("", "auto", "yes", "no"):
        raise InputError(f"DEPLOY: expected auto, yes or no, found {_short(values['DEPLOY'])}")
    if values["ROLLBACK"] and not _RELEASE.fullmatch(values["ROLLBACK"]):
        raise InputError(f"ROLLBACK: expected the number of a release, such as 3, found {_short(values['ROLLBACK'])}")
    forced(variables)
    return Request(
        _branch(variables),
        bool(variables.get(PULL_REQUEST)),
        values["DEPLOY"] or "auto",
        values["ROLLBACK"],
        values["PROMOTE"],
        values["ENVIRONMENT"],
        tuple(name for name in (*KEYS, "FORCE", "SETTINGS") if variables.get(f"{PREFIX}{name}", "").strip()),
    )


def _branch(variables: Mapping[str, str]) -> str | None:
    """Return the name of the branch, None if Jenkins names none.

    Jenkins expands `$NAME` in the variable, so that a branch could pass for another; the job's name has it in full.

    Raises:
        InputError: the two differ.
    """
    branch = variables.get("BRANCH_NAME")
    if branch and unquote(variables.get("JOB_BASE_NAME", "")) != branch:
        raise InputError(
            f"BRANCH_NAME: {_short(branch)} is not what the job is named after: give the branch a name without $"
        )
    return branch or None


def does(request: Request, settings: Settings, file: Path = Path("pipeline.yaml")) -> tuple[str, ...]:
    """Return what the build does, in words that the Jenkinsfile asks for.

    `train` makes a model, and `release` rolls it out if its tests promote it. `check` does the same as `train` for a
    pull request, with nothing that it could write to; `notify` tells it the result. `rollback` and `promote` train
    nothing; `approve` asks somebody before.

    Args:
        request: what is asked for.
        settings: those of the file, without what parameters override.
        file: the settings file, for messages.

    Raises:
        InputError: what is asked for cannot be; the message names the parameter.
    """
    asked = {"ROLLBACK": request.rollback, "PROMOTE": request.promote, "DEPLOY": request.deploy == "yes"}
    for name in (name for name, value in asked.items() if value):
        if request.pull_request:
            raise InputError(f"{name}: a pull request releases nothing")
        if request.branch not in (None, settings.release_branch):
            raise InputError(
                f"{name}: this is the branch {_short(request.branch)}, and only {settings.release_branch} releases "
                f"(release_branch in {file})"
            )
    if request.rollback and request.promote:
        raise InputError("PROMOTE: not together with ROLLBACK: do one after the other")
    instead = "ROLLBACK" if request.rollback else "PROMOTE" if request.promote else ""
    if instead and request.given:
        raise InputError(f"{request.given[0]}: not together with {instead}, which trains nothing")
    if request.environment and not request.rollback:
        raise InputError("ENVIRONMENT: says where to roll back: give ROLLBACK too")
    names = tuple(settings.environments)
    for name, value in (("ENVIRONMENT", request.environment), ("PROMOTE", request.promote)):
        if value and value not in names[1:]:
            known = f"expected {' or '.join(names[1:])}" if names[1:] else "there are not several"
            raise InputError(f"{name}: {known} (environments in {file}, after the first), found {_short(value)}")
    if request.pull_request:
        return ("check", "notify") if settings.notify.to else ("check",)
    if request.rollback:
        return ("rollback",)
    if request.promote:
        return ("promote", "approve") if settings.environments[request.promote].approval else ("promote",)
    releases = request.deploy != "no" and request.branch in (None, settings.release_branch)
    return ("train", "release") if releases else ("train",)


def overrides(variables: Mapping[str, str], file: Path) -> list[str]:
    """Return the settings that a build's parameters override, as KEY=VALUE, in the order in which they apply.

    Raises:
        InputError: one has a wrong value, or overrides what only the file says; the message names the parameter.
    """
    found = {name: [f"{key}={text}"] for name, key in KEYS.items() if (text := _line(variables, name))}
    if lines := from_lines(_text(variables, "SETTINGS"), "SETTINGS"):
        found["SETTINGS"] = lines
    if not found:
        return []
    plain = configuration.read(file)
    for name, given in found.items():
        try:
            settings = configuration.read(file, given)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        if changed := next((key for key in FIXED if _value(settings, key) != _value(plain, key)), None):
            raise InputError(f"{name}: {changed}: no build overrides this: change it in {file}")
    return [override for given in found.values() for override in given]


def settings(overrides: Sequence[str] = (), file: Path = Path("pipeline.yaml")) -> Settings:
    """Return the settings of a command that needs no build: the file's, with the overrides of whoever runs it.

    Args:
        overrides: of the command line; they come after those of the variable `PIPELINE_SET`.
        file: the settings file.

    Raises:
        InputError: one of them is wrong.
    """
    return configuration.read(file, [*from_lines(os.environ.get(VARIABLE, ""), VARIABLE), *overrides])


def from_lines(text: str, name: str) -> list[str]:
    """Return the overrides in a text with one KEY=VALUE a line; a line without a value overrides nothing.

    Raises:
        InputError: a line is not KEY=VALUE.
    """
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        key, equals, value = line.strip().partition("=")
        if not equals and key:
            raise InputError(f"{name}:{number}: {key[:_SHOWN]}: expected KEY=VALUE, such as tuning.max_trials=30")
        if value.strip():
            found.append(f"{key}={value}")
    return found


def forced(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return the cached stages that are to run although nothing has changed.

    Raises:
        InputError: there is no such stage.
    """
    names = _line(variables, "FORCE").replace(",", " ").split(" ")
    for name in filter(None, names):
        if name not in CACHED:
            raise InputError(f"FORCE: expected some of {', '.join(CACHED)}, found {_short(name)}")
    return tuple(stage for stage in CACHED if stage in names)


def _value(settings: Settings, key: str) -> Any:
    for part in key.split("."):
        settings = getattr(settings, part, None)  # type: ignore[assignment]
    return settings


def _text(variables: Mapping[str, str], name: str) -> str:
    """Return a parameter; empty if it was not given.

    Raises:
        InputError: it is too long.
    """
    text = variables.get(f"{PREFIX}{name}", "")
    if len(text) > _LONGEST:
        raise InputError(f"{name}: {len(text):,} characters are too many: at most {_LONGEST:,}")
    return text


def _line(variables: Mapping[str, str], name: str) -> str:
    """Return a parameter that is one line of printable text.

    Raises:
        InputError: it is something else.
    """
    text = _text(variables, name).strip()
    if not text.isprintable():
        raise InputError(f"{name}: expected one line of printable characters, found {_short(text)}")
    return text


def _short(value: str | None) -> str:
    text = str(value)
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
