"""One tuning Job on a cluster: made, waited for with its log and reasons, and always removed."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from ci.command import patient
from ci.errors import StageError
from ci.kube.api import ApiServer, Conflict, Denied, Missing
from ci.kube.standing import Standing, standing
from ci.pods.templates import BUILD, NAMESPACE
from ci.run.job import manifest

Json = dict[str, Any]
STARTED = 600.0
"""Longest wait for a pod of the Job to start; seconds."""
AWAY = 180.0
"""How long the API server may be away before the Job is given up; seconds."""
STARTING = 60.0
"""How long it may refuse what it has allowed before: after a start it has not read the roles yet; seconds."""
GONE = 60.0
"""Longest wait for the pods of a Job that was deleted; seconds."""
_LOOK = 1.0
"""Time between two looks; seconds."""
_TAIL = 50
"""Lines of a failed pod's log that are shown."""
Say = Callable[[str], object]


class Job:
    """A Job for as long as a `with` block lasts.

    Args:
        api: the API server.
        job: the Job, with its name and its build.
        say: called with each line for people.
        hear: called with each line of index 0's log.
    """

    def __init__(self, api: ApiServer, job: Json, say: Say, hear: Say = print) -> None:
        self._api, self._job, self._say, self._hear = api, job, say, hear
        self.name, self._build = job["metadata"]["name"], job["metadata"]["labels"][BUILD]
        self._jobs = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
        self._pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
        self._said: dict[int, str] = {}
        self._since: dict[str, float] = {}
        self._heard: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Make the Job, after what an earlier try of the same build left is gone."""
        self.clean()
        try:
            self._create()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the Job with its pods."""
        with patient("the tuning Job is being removed"):
            self.remove()

    def _create(self) -> None:
        try:
            self._api.ask("POST", self._jobs, self._job)
        except Conflict:
            # A first answer was lost: then the Job that is there is this one.
            there = self._api.get(f"{self._jobs}/{self.name}")["metadata"]
            if "deletionTimestamp" in there or (there.get("labels") or {}).get(BUILD) != self._build:
                raise
        spec = self._job["spec"]
        self._say(f"Job {self.name}: {spec['completions']} pods, {_requested(self._job)} each")

    def clean(self) -> None:
        """Remove the Jobs of this build that are left, with their pods; they hold the search's folder."""
        found = self._api.get(self._jobs, labelSelector=f"{BUILD}={self._build}").get("items", [])
        for job in found:
            self._say(f"Job {job['metadata']['name']}, which an earlier run left, is removed")
            self._delete(job["metadata"]["name"])
        self._until_gone()

    def remove(self) -> None:
        """Remove the Job; that it cannot be is said, and the next run does it."""
        try:
            self._delete(self.name)
            self._until_gone()
        except StageError as problem:
            self._say(f"Job {self.name} stays until the next run: {problem}")

    def _delete(self, name: str) -> None:
        with suppress(Missing):
            self._api.ask("DELETE", f"{self._jobs}/{name}", {"propagationPolicy": "Background"})

    def _until_gone(self) -> None:
        until = time.monotonic() + GONE
        while pods := self._api.get(self._pods, labelSelector=f"{BUILD}={self._build},{_TUNING}")["items"]:
            if time.monotonic() > until:
                self._say(f"pod {pods[0]['metadata']['name']} does not end: its node may be gone")
                return
            time.sleep(_LOOK / 2)

    def wait(self) -> None:
        """Wait until the search is over.

        Raises:
            StageError: it failed, a pod did not start in time, or the API server is away or refuses for too long.
        """
        seen = time.monotonic()
        allowed = seen
        while True:
            try:
                job, pods = self._look()
            except Missing:
                raise
            except StageError as problem:
                if not isinstance(problem, Denied):
                    allowed = time.monotonic()
                if time.monotonic() - seen > AWAY or time.monotonic() - allowed > STARTING:
                    raise
                self._say(f"{problem}; the search goes on, and so do we")
                time.sleep(_LOOK)
                continue
            seen = allowed = time.monotonic()
            ended = manifest.end(job)
            self._tell(pods)
            if ended and ended.state == "done":
                return
            if ended:
                self._show(pods)
                raise StageError(f"Job {self.name} failed: {ended.words}")
            time.sleep(_LOOK)

    def _look(self) -> tuple[Json, dict[int, Mapping[str, Any]]]:
        try:
            job = self._api.get(f"{self._jobs}/{self.name}")
        except Missing:
            raise Missing(f"Job {self.name} was deleted by somebody else") from None
        found = self._api.get(self._pods, labelSelector=f"{manifest.JOB}={self.name}")["items"]
        return job, manifest.newest(found)

    def _tell(self, pods: Mapping[int, Mapping[str, Any]]) -> None:
        """Say what has changed of each pod, and what index 0 says.

        Raises:
            StageError: a pod does not start.
        """
        for index, pod in pods.items():
            name, found = pod["metadata"]["name"], standing(pod, manifest.CONTAINER)
            since = self._since.setdefault(f"{name} {found.state}", time.monotonic())
            if found.state in ("waits", "stuck") and time.monotonic() - since > STARTED:
                raise StageError(f"pod {name} did not start in {STARTED:g} s: {found.words}")
            if found.state == "stuck" and time.monotonic() - since > AWAY:
                raise StageError(f"pod {name} does not start: {found.words}")
            if f"{name} {found.words}" != self._said.get(index) and not _passing(found, since):
                self._said[index] = f"{name} {found.words}"
                self._say(f"pod {name}: {found.words}")
        if 0 in pods:
            self._follow(pods[0]["metadata"]["name"])

    def _follow(self, name: str) -> None:
        """Pass on what a pod has said since the last time."""
        query: dict[str, str | int] = {"container": manifest.CONTAINER, "timestamps": "true"}
        if last := self._heard.get(name):
            query["sinceTime"] = f"{last[:19]}Z"
        try:
            log = self._api.raw("GET", f"{self._pods}/{name}/log", query=query, tries=1)
        except StageError:  # it has none yet, or its node is busy: the next look shows it
            return
        for line in log.decode(errors="replace").splitlines():
            stamp, _, text = line.partition(" ")
            if stamp > self._heard.get(name, ""):
                self._heard[name] = stamp
                self._hear(text)

    def _show(self, pods: Mapping[int, Mapping[str, Any]]) -> None:
        """Show the end of the log of the pods that failed."""
        for index, pod in pods.items():
            if (pod.get("status") or {}).get("phase") != "Failed" or not index:  # that of index 0 has been shown
                continue
            name = pod["metadata"]["name"]
            query: dict[str, str | int] = {"container": manifest.CONTAINER, "tailLines": _TAIL}
            with suppress(StageError):
                said = self._api.raw("GET", f"{self._pods}/{name}/log", query=query, tries=1)
                self._say(f"the end of what pod {name} said:")
                for line in said.decode(errors="replace").splitlines():
                    self._hear(line)


_TUNING = "app.kubernetes.io/component=tuning"


def _passing(found: Standing, since: float) -> bool:
    """Return whether a pod waits for what mostly comes within a moment, which is not worth a line."""
    return found.state == "waits" and time.monotonic() - since < 2 * _LOOK


def _requested(job: Mapping[str, Any]) -> str:
    [container] = [each for each in job["spec"]["template"]["spec"]["containers"] if each["name"] == manifest.CONTAINER]
    asked = {name: value for name, value in container["resources"]["requests"].items() if name != "ephemeral-storage"}
    return ", ".join(f"{name} {value}" for name, value in asked.items())
