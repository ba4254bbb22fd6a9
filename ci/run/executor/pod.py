"""One agent pod: made, waited for with reasons, given code and texts, used for steps, and always removed."""

import json
import shlex
import time
from codecs import getincrementaldecoder
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ci import workspace
from ci.errors import StageError
from ci.kube import exec as remote
from ci.kube.api import ApiServer, Conflict, Missing
from ci.kube.standing import Standing, standing
from ci.run.executor import runner

Json = dict[str, Any]
HOME = "/home/jenkins/agent"
"""Where an agent's volume for the workspace is, as Jenkins' own agents have it."""
FOLDER = f"{HOME}/workspace"
"""Where the code is."""
STARTED = 600.0
"""Longest wait for a pod to start; seconds."""
_LOOK = 0.3
"""Time between two looks at a pod that starts; seconds."""
_CHUNK = 60.0
"""How long one connection follows a step; seconds."""
_AWAY = 180.0
"""How long the API server may be away before the build gives up; seconds."""
_GRACE = 20.0
"""How long a step that is interrupted may take to put things in order; seconds."""
_GONE = 10.0
"""Longest wait for a pod that was deleted; seconds."""
_PYTHON = ("python3", "-I", "-S", "-c")
"""The pod's Python, without what it would look for at its start."""
Say = Callable[[str], object]


class Lost(StageError):  # noqa: N818 - a state, not a fault
    """The pod is gone, through no fault of the step: another one may do better."""


class Agent:
    """An agent pod for as long as a `with` block lasts.

    Args:
        api: the API server.
        manifest: the pod, with name and namespace.
        container: name of the container that steps run in.
        say: called with what there is to know while we wait.
        tick: called several times a second; what it raises ends what is under way.
        wait: longest wait for the pod to start; seconds.
    """

    def __init__(
        self,
        api: ApiServer,
        manifest: Json,
        container: str,
        say: Say,
        tick: Callable[[], object],
        wait: float = STARTED,
    ) -> None:
        self._api, self._manifest, self._say, self._tick, self._wait = api, manifest, say, tick, wait
        metadata = manifest["metadata"]
        self.name: str = metadata["name"]
        self._place = remote.Place(metadata["namespace"], self.name, container)
        self._pods = f"/api/v1/namespaces/{metadata['namespace']}/pods"
        self._steps = 0

    def __enter__(self) -> Self:
        """Make the pod and wait until it runs.

        Raises:
            Lost: it ended before it ran.
            StageError: it is not allowed, or does not start.
        """
        try:
            try:
                self._api.ask("POST", self._pods, self._manifest)
            except Conflict:  # the answer to our own request was lost on its way
                self._api.get(f"{self._pods}/{self.name}")
            self._until_it_runs()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the pod, and write down what is known of it if the block failed."""
        if kind is not None and issubclass(kind, StageError):
            self._write_down(str(error))
        self.remove()

    def remove(self) -> None:
        """Remove the pod, if it is there; that it cannot be removed is said, as the next build will.

        It is waited for, as its node has room for the next pod, and the image that it may need, only once it is gone.
        """
        end = time.monotonic() + _GONE
        try:
            self._api.ask("DELETE", f"{self._pods}/{self.name}", {"gracePeriodSeconds": 1})
            while time.monotonic() < end:
                self._api.get(f"{self._pods}/{self.name}")
                time.sleep(0.2)
        except Missing:
            pass
        except StageError as problem:
            self._say(f"pod {self.name} stays until the next build: {problem}")

    def _until_it_runs(self) -> None:
        end, said = time.monotonic() + self._wait, ""
        while True:
            found = self._look()
            if found.state == "runs":
                return
            if found.state == "over":
                raise Lost(f"pod {self.name}: {found.words}")
            if found.state == "stuck":
                raise StageError(f"pod {self.name} does not start: {found.words}")
            if time.monotonic() > end:
                raise StageError(f"pod {self.name} did not start in {self._wait:g} s: {found.words}")
            if found.words != said and time.monotonic() > end - self._wait + 2:  # most start without a word
                said = found.words
                self._say(f"pod {self.name}: {said}")
            self._pause(_LOOK)

    def _look(self) -> Standing:
        try:
            pod: Json | None = self._api.get(f"{self._pods}/{self.name}")
        except Missing:
            pod = None
        found = standing(pod, self._place.container)
        return found if found.state in ("runs", "over") else standing(pod, self._place.container, self._events())

    def _events(self) -> list[Json]:
        """Return the events about the pod, the newest last; none where they may not be read."""
        try:
            about = {"fieldSelector": f"involvedObject.name={self.name}"}
            return list(self._api.get(self._pods.removesuffix("pods") + "events", **about).get("items", []))
        except StageError:
            return []

    def step(self, command: Sequence[str], hear: Say, environment: Mapping[str, str] | None = None) -> int:
        """Run a command in the code's folder and return its exit code.

        Args:
            command: program and arguments.
            hear: called with each line that it says.
            environment: variables that it gets beside those of the container.

        Raises:
            Lost: the pod is gone.
            StageError: the API server is, or nobody knows how the command ended.
        """
        self._steps += 1
        lines = _Lines(hear)
        folder = f"/tmp/step-{self._steps}"  # noqa: S108 - in the pod, which is ours alone
        variables = [f"{name}={value}" for name, value in (environment or {}).items()]
        away = time.monotonic()
        while True:
            words: list[bytes] = []
            arguments = (folder, str(lines.bytes), str(_CHUNK), FOLDER, *variables, "", *command)
            try:
                self._run([*_PYTHON, _RUNNER, *arguments], lines.take, words.append)
            except remote.Broken as error:
                self._still_runs(error, away)
                continue
            except BaseException:
                self._interrupt(folder, lines)
                raise
            away = time.monotonic()
            if told := b"".join(words).decode(errors="replace").strip():
                lines.end()
                if told.isdigit():
                    return int(told)
                unknown = StageError(f"pod {self.name}: {shlex.join(command)}: {_unknown(told)}")
                if self._still_runs(unknown, away):  # if it is being ended, what runs in it ends one after another
                    raise unknown

    def _run(self, command: Sequence[str], out: remote.Hear, err: remote.Hear, given: bytes = b"") -> int:
        silence = _CHUNK + 30
        try:
            return remote.execute(
                self._api, self._place, command, given=given, out=out, err=err, silence=silence, tick=self._tick
            )
        except Missing as error:
            raise remote.Broken(str(error)) from None

    def _still_runs(self, error: StageError, away: float) -> bool:
        """Make sure that it makes sense to connect again, and return whether the pod is known to run.

        Raises:
            Lost: the pod is gone.
            StageError: the API server does not answer any more.
        """
        self._pause(1.0)
        try:
            found = self._look()
        except StageError:  # it has been asked for some seconds already
            if time.monotonic() - away > _AWAY:
                raise StageError(f"the API server was away for {_AWAY:g} s: {error}") from None
            self._say(f"the API server does not answer: the step in pod {self.name} goes on, and is asked again")
            return False
        if found.state != "runs":
            raise Lost(f"pod {self.name}: {found.words}")
        if time.monotonic() - away > _AWAY:
            raise error
        return True

    def _interrupt(self, folder: str, lines: "_Lines") -> None:
        """Interrupt the step as Ctrl-C would, and hear it out: a deployment puts back what served."""
        command = [*_PYTHON, _RUNNER, folder, str(lines.bytes), str(_GRACE)]
        silence = _GRACE + 10
        try:
            remote.execute(self._api, self._place, command, out=lines.take, err=lambda _: None, silence=silence)
        except StageError as problem:
            self._say(f"the step in pod {self.name} cannot be interrupted, and ends with its pod: {problem}")
        lines.end()

    def send(self, content: bytes, path: str, then: Sequence[str] = ()) -> None:
        """Write a file into the pod, and run a command afterwards.

        Args:
            content: of the file.
            path: where, from the workspace's volume.
            then: program and arguments, run there.

        Raises:
            Lost: the pod is gone.
            StageError: it cannot be written, or the command fails.
        """
        script = 'set -e; mkdir -p "$(dirname "$2")"; head -c "$1" > "$2"; shift 2; [ $# = 0 ] || exec "$@"'
        command = ["sh", "-c", f"cd {HOME}; {script}", "send", str(len(content)), path, *then]
        self._whole(command, content, f"{path} cannot be written")

    def fetch(self, paths: Sequence[str]) -> bytes:
        """Return an archive (tar) of those of some paths in the code's folder that are there; raises as `send` does."""
        script = 'cd "$1"; shift; for path; do [ -e "$path" ] && echo "$path"; done | tar -cf - -T -'
        return self._whole(["sh", "-c", script, "fetch", FOLDER, *paths], b"", "its results cannot be read")

    def read(self, path: str) -> bytes:
        """Return a file in the code's folder; raises as `send` does."""
        return self._whole(["cat", f"{FOLDER}/{path}"], b"", f"{path} cannot be read")

    def _whole(self, command: Sequence[str], given: bytes, problem: str) -> bytes:
        """Run a short command that can be repeated, and return what it prints."""
        away = time.monotonic()
        while True:
            out, err = bytearray(), bytearray()
            try:
                code = self._run(command, out.extend, err.extend, given)
            except remote.Broken as error:
                self._still_runs(error, away)
                continue
            if code:
                said = err.decode(errors="replace").strip()
                raise StageError(f"pod {self.name}: {problem}: {said or f'exit code {code}'}")
            return bytes(out)

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._tick()
            time.sleep(min(left, 0.1))

    def _write_down(self, problem: str) -> None:
        """Write what the API server knows of the pod to `build/executor/`, for whoever looks for the cause."""
        path = workspace.BUILD / "executor" / f"{self.name}.txt"
        parts = [problem]
        try:
            parts += [json.dumps(self._api.get(f"{self._pods}/{self.name}").get("status"), indent=2)]
            query: dict[str, str | int] = {"container": self._place.container, "tailLines": 200}
            parts += [
                self._api.raw("GET", f"{self._pods}/{self.name}/log", query=query, tries=1).decode(errors="replace")
            ]
        except StageError as error:
            parts += [str(error)]
        parts += [f"{e.get('type')} {e.get('reason')}: {e.get('message')}" for e in self._events()]
        workspace.write_text(path, "\n".join(parts) + "\n")
        self._say(f"what is known of pod {self.name} -> {path}")


class _Lines:
    """What a step says, as lines; a line that is not ended yet waits for its end."""

    def __init__(self, hear: Say) -> None:
        self.bytes = 0
        self._hear, self._decoder, self._rest = hear, getincrementaldecoder("utf-8")("replace"), ""

    def take(self, part: bytes) -> None:
        self.bytes += len(part)
        *lines, self._rest = (self._rest + self._decoder.decode(part)).split("\n")
        for line in lines:
            self._hear(line.rstrip())

    def end(self) -> None:
        if self._rest:
            self._hear(self._rest.rstrip())
            self._rest = ""


def _unknown(told: str) -> str:
    if told == "lost":
        return "it was ended from outside, perhaps for want of memory, and left no exit code"
    return f"how it ended is not known: {told[:200]}"


_RUNNER = Path(runner.__file__).read_text(encoding="utf-8")
