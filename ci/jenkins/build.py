"""A build that runs or has ended: its log, its result, its end."""

import codecs
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ci.command import printable
from ci.errors import StageError
from ci.jenkins.remote import Remote


@dataclass(frozen=True)
class Build:
    """A build that has a number."""

    remote: Remote
    number: int
    path: str
    """Its address from the host on."""
    url: str
    """Its address as Jenkins tells people."""

    def follow(self, hear: Callable[[str], None]) -> None:
        """Pass on the lines of its log until it has ended, also if the controller restarts meanwhile.

        Args:
            hear: takes each line.

        Raises:
            StageError: the controller is away for too long, or the build was deleted.
        """
        seen, rest, decoder = 0, "", codecs.getincrementaldecoder("utf-8")("replace")
        while True:
            answer = self.remote.read(f"{self.path}logText/progressiveText", {"start": str(seen)})
            size = answer.headers.get("X-Text-Size", "")
            if not size.isdecimal():
                raise StageError(f"{self.url}: what answers for its log is not Jenkins (no X-Text-Size)")
            # After a crash the log may end before what was seen: then Jenkins gives all of it, which is old.
            if int(size) >= seen:
                *lines, rest = (rest + decoder.decode(answer.content)).split("\n")
                for line in lines:
                    hear(shown(line))
            seen = int(size)
            if answer.headers.get("X-More-Data") != "true" and self._state()["building"] is not True:
                if rest:
                    hear(shown(rest))
                return
            self.remote.pause(1)

    def result(self) -> str:
        """Return how it ended, once it has: `SUCCESS`, `UNSTABLE`, `FAILURE`, `ABORTED` or `NOT_BUILT`."""
        while True:
            state = self._state()
            if state["building"] is not True and state.get("result"):
                return str(state["result"])
            self.remote.pause(1)

    def stop(self) -> None:
        """Ask for its end, once: a second time would break off what it does at its end.

        Raises:
            Refused: this user may not.
            StageError: what answers is no Jenkins.
        """
        answer = self.remote.send(f"{self.path}stop")
        place = self.remote.path(answer.headers.get("Location", ""))
        if not place.startswith(self.path.rpartition(f"{self.number}/")[0]):
            raise StageError(
                f"{self.url}: HTTP {answer.status_code} is no answer of Jenkins: whether it ends is not known"
            )

    def _state(self) -> dict[str, Any]:
        return {"building": None, **self.remote.json(self.path, "building,result")}


def shown(line: str) -> str:
    """Return a line of a log as a terminal may show it: what would steer the terminal is shown by its number."""
    return printable(line.rstrip("\r").expandtabs())
