"""Builds on a Jenkins controller: started once, waited for in the queue, followed by their log, stopped.

    remote = Remote(url, user, token)
    job = find(remote, "model-pipeline", "main")
    build = job.wait(job.start({"AS_OF": "2013-07-01"}, request="nightly-2013-07-01"))
    build.follow(print)
    build.result()                                          # SUCCESS, UNSTABLE, FAILURE, ABORTED, NOT_BUILT

**Started once.** Jenkins has no idempotent requests, so the job's own parameter `REQUEST` names what is asked for; a
build or a queued item that has that name is taken instead of starting another. Where no answer came, Jenkins is asked
for the name: the request is sent again only if it certainly did not arrive.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from ci.errors import InputError, StageError
from ci.jenkins.build import Build, shown
from ci.jenkins.remote import Away, Refused, Remote, Unsure

REQUEST = "REQUEST"
"""The parameter that names what a build was asked for."""
_LOOKED_AT = 100
"""Last builds that are looked at for a request."""
_LOOKS = 5
"""How often Jenkins is asked for a request that may have arrived."""
_ITEM = re.compile(r"/queue/item/(\d+)/?$")


@dataclass(frozen=True)
class Queued:
    """A build that waits for its turn."""

    number: int
    """Of the queue item."""
    request: str | None
    """What it was asked for, if the job has the parameter `REQUEST`."""


@dataclass(frozen=True)
class Job:
    """A job that builds can be started of.

    Attributes:
        name: for people.
        path: its address from the host on.
        parameters: what builds take: by name the choices, or None where anything is taken.
    """

    remote: Remote
    name: str
    path: str
    parameters: Mapping[str, tuple[str, ...] | None]

    def start(self, given: Mapping[str, str], request: str) -> Queued | Build:
        """Ask for a build, unless there is one of that request already.

        Args:
            given: values of parameters.
            request: names what is asked for.

        Raises:
            InputError: there is no such parameter, or no such choice.
            Refused: Jenkins does not take it.
            Unsure: it may have been started; only for a job without the parameter `REQUEST` it is not known.
        """
        self._check(given)
        named = REQUEST in self.parameters
        form = {**given, REQUEST: request} if named else dict(given)
        if named and (found := self.asked(request)):
            self.remote.say(f"jenkins: {self.name}: {request} was asked for before")
            return found
        begun = f"{self.path}{'buildWithParameters' if self.parameters else 'build'}"
        tries = max(1, int(self.remote.patience / 2))
        for left in reversed(range(tries)):
            try:
                return self._queued(self.remote.send(begun, form), request if named else None)
            except Away as error:
                if error.answered and not named:  # nothing would tell whether a second one is started
                    raise Unsure(self._told(error, None)) from None
                if not left:
                    raise
                self.remote.say(f"jenkins: {error}: nothing was started, trying again")
                self.remote.pause(2)
            except Unsure as error:
                if named and (found := self._look(request)):
                    return found
                raise Unsure(self._told(error, request if named else None)) from None
            # It was away, and a proxy may say so of a request that it has passed on.
            if named and (found := self.asked(request)):
                return found
        raise AssertionError("unreachable")

    def asked(self, request: str) -> Queued | Build | None:
        """Return the queued item or the build of a request; None if there is none among the last builds."""
        wanted = {"name": REQUEST, "value": request}
        tree = "actions[parameters[name,value]]"
        queue = self.remote.json(f"{self.remote.base()}/queue", f"items[id,task[url],{tree}]")
        for item in queue.get("items", ()):
            if wanted in _parameters(item) and self.remote.path(str(item.get("task", {}).get("url"))) == self.path:
                return Queued(int(item["id"]), request)
        builds = self.remote.json(self.path, f"builds[number,url,{tree}]{{0,{_LOOKED_AT}}}")
        return next((self._build(each) for each in builds.get("builds", ()) if wanted in _parameters(each)), None)

    def busy(self, own: str | None = None) -> str | None:
        """Return what waits or runs, in words; None if nothing does.

        Args:
            own: address of a build that does not count, such as the one that asks.
        """
        items = self.remote.json(f"{self.remote.base()}/queue", "items[id,task[url]]").get("items", ())
        for item in items:
            if self.remote.path(str(item.get("task", {}).get("url"))) == self.path:
                return f"queue item {item['id']} of {self.name} waits"
        builds = self.remote.json(self.path, f"builds[number,url,building]{{0,{_LOOKED_AT}}}").get("builds", ())
        for each in builds:
            if each.get("building") is True and self.remote.path(str(each["url"])) != self.remote.path(own or ""):
                return f"build {each['number']} of {self.name} runs"
        return None

    def wait(self, queued: Queued | Build) -> Build:
        """Return the build once it has begun; why it waits is told, each time that changes.

        Raises:
            StageError: it was cancelled, or nothing is known of it any more.
        """
        why = None
        while isinstance(queued, Queued):
            try:
                item = self.remote.json(
                    f"{self.remote.base()}/queue/item/{queued.number}", "why,cancelled,executable[number,url]"
                )
            except Refused as error:
                if error.status != 404:
                    raise
                queued = self._after_restart(queued)
                continue
            if item.get("executable"):
                return self._build(item["executable"])
            if item.get("cancelled"):
                raise StageError(f"{self.name}: queue item {queued.number} was cancelled before it began")
            if item.get("why") != why:
                why = item.get("why")
                self.remote.say(f"jenkins: {self.name} waits: {shown(str(why))}")
            self.remote.pause(1)
        return queued

    def cancel(self, queued: Queued | Build) -> Build | None:
        """Take it out of the queue; if it has begun, stop it and return it.

        Raises:
            Refused: this user may not.
        """
        if isinstance(queued, Queued):
            path = f"{self.remote.base()}/queue"
            try:
                self.remote.send(f"{path}/cancelItem", {"id": str(queued.number)})
                item = self.remote.json(f"{path}/item/{queued.number}", "executable[number,url]")
            except Refused as error:
                if error.status != 404:
                    raise
                return None
            if not item.get("executable"):
                return None
            queued = self._build(item["executable"])
        queued.stop()
        return queued

    def _check(self, given: Mapping[str, str]) -> None:
        """Make sure that the job has these parameters: Jenkins itself ignores what it does not know."""
        if given and not self.parameters:
            raise InputError(f"{self.name} has no parameters yet: its first build gives it some, so start one without")
        for name, value in given.items():
            if name not in self.parameters or name == REQUEST:
                known = sorted(set(self.parameters) - {REQUEST})
                near = difflib.get_close_matches(name, known, 1) or known
                raise InputError(f"{self.name} has no parameter {name!r}: perhaps {', '.join(near)}")
            choices = self.parameters[name]
            if choices is not None and value not in choices:
                there = ", ".join(each or "(empty)" for each in choices)
                raise InputError(f"{self.name}: {name}: {value!r} is none of its choices: {there}")

    def _queued(self, answer: Any, request: str | None) -> Queued:
        """Read the answer to a request for a build: 201, or 303 if an equal one waits already."""
        place = _ITEM.search(self.remote.path(answer.headers.get("Location", "")))
        if answer.status_code not in (201, 303) or not place:
            raise StageError(
                f"{self.name}: HTTP {answer.status_code} without a queue item is no answer of Jenkins: is "
                f"{self.remote.url} its own address, or that of something before it?"
            )
        return Queued(int(place[1]), request)

    def _look(self, request: str) -> Queued | Build | None:
        """Ask several times for a request that may have arrived, as it may still be on its way."""
        for _ in range(_LOOKS):
            self.remote.pause(2)
            if found := self.asked(request):
                return found
        return None

    def _told(self, error: Unsure | Away, request: str | None) -> str:
        said = f"{error}: whether {self.name} was started is not known"
        if request:
            return f"{said}: run this again with the request {request!r}, which starts no second one"
        return f"{said}: look at Jenkins before you run this again (the job has no parameter {REQUEST})"

    def _after_restart(self, queued: Queued) -> Queued | Build:
        """Return what became of a queue item that Jenkins has forgotten.

        Raises:
            StageError: that is not known.
        """
        found = queued.request and self.asked(queued.request)
        if not found:
            raise StageError(f"{self.name}: Jenkins knows nothing of queue item {queued.number} any more")
        return found

    def _build(self, said: Mapping[str, Any]) -> Build:
        return Build(self.remote, int(said["number"]), self.remote.path(said["url"]), str(said["url"]))


def find(remote: Remote, name: str, branch: str | None = None) -> Job:
    """Return a job.

    Args:
        remote: the controller.
        name: with its folders, such as `team/model-pipeline`.
        branch: of a multibranch project, as Git calls it, such as `feature/more-data`; None for any other job.

    Raises:
        InputError: there is no such job or branch, it is disabled, or a branch must be named.
        StageError: Jenkins does not answer, or refuses.
    """
    folders = name.strip("/").split("/")
    if {"", ".", ".."} & set(folders) or not name.isprintable():
        raise InputError(f"jenkins.job: {name!r} is no name of a job")
    path = remote.base() + "".join(f"/job/{quote(each, safe='')}" for each in folders) + "/"
    kind = "_class,buildable,property[parameterDefinitions[name,type,choices]]"
    said = _described(remote, path, name, f"{kind},jobs[name,displayName,url]")
    branches = said.get("jobs")
    if branches is not None:
        known = {_branch(each): each for each in branches}
        if branch is None or branch not in known:
            there = ", ".join(sorted(known)[:10]) or "none yet: they appear once Jenkins has scanned the repository"
            what = f"branch {branch!r}" if branch else "branch that is to be built"
            raise InputError(f"{name}: Jenkins knows no {what}; it has {there}")
        name, path = f"{name}/{branch}", remote.path(known[branch]["url"])
        said = _described(remote, path, name, kind)
    if said.get("buildable") is False:
        raise InputError(f"{name} is disabled, as the jobs of deleted branches are: nothing can be built")
    return Job(remote, name, path, dict(_definitions(said.get("property", ()))))


def _described(remote: Remote, path: str, name: str, tree: str) -> dict[str, Any]:
    try:
        return remote.json(path, tree)
    except Refused as error:
        if error.status != 404:
            raise
        raise InputError(f"Jenkins has no job {name}, or user {remote.user} may not see it (Job/Read)") from None


def _branch(job: Mapping[str, Any]) -> str:
    """Return how Git calls the branch of a job: Jenkins shows it so, and encodes it in the job's name."""
    return str(job.get("displayName") or unquote(str(job["name"])))


def _definitions(properties: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, tuple[str, ...] | None]]:
    for each in (each for one in properties for each in one.get("parameterDefinitions") or ()):
        if each.get("type") == "BooleanParameterDefinition":
            yield each["name"], ("true", "false")
        else:
            yield each["name"], tuple(each["choices"]) if each.get("choices") else None


def _parameters(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the parameters of a build or a queue item, as name and value."""
    found = [each for action in said.get("actions") or () for each in (action or {}).get("parameters") or ()]
    return [{"name": each.get("name"), "value": each.get("value")} for each in found]
