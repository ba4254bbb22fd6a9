"""A policy's life: a clone of its own, in which the real commands run week by week.

Each finished week is a file. A week that was broken off begins again from what the week before left, of which a copy is
kept; what DVC has computed by then is not computed again.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.year.traffic import KNOWN, LONGEST, ROW, TARGET, WEEK
from ci import http, workspace
from ci.clock import NOW

MAKE = ("configure", "champion", "prepare", "tune", "train", "test", "package", "deploy")
"""The stages of a build that nobody watches."""
HOUR = time(1, tzinfo=UTC)
"""When what a week asks for is done: on Monday, an hour after it."""
INBOX = 4
"""Weeks that an outcome lies in the inbox: the requests of a week are known to the labels command a week later."""


@dataclass
class Place:
    """A checkout with a server of its own.

    Attributes:
        folder: the checkout.
        overrides: of its settings.
        log: file that gets what the commands say.
    """

    folder: Path
    overrides: Sequence[str]
    log: Path
    port: int = field(default_factory=lambda: free_port())

    def run(self, module: str, *arguments: str, now: datetime) -> tuple[int, float]:
        """Run a command, at a time, and return its exit code and the CPU seconds that it and its children took."""
        environment = {key: value for key, value in os.environ.items() if key != "PIPELINE_SET"}
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"\n== {now:%Y-%m-%d %H:%M} {module} {' '.join(arguments)}\n")
            log.flush()
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env={**environment, NOW: now.isoformat()},
            )
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, used.ru_utime + used.ru_stime

    def must(self, module: str, *arguments: str, now: datetime) -> float:
        """Run a command that has to end well, and return its CPU seconds."""
        code, seconds = self.run(module, *arguments, now=now)
        if code:
            raise SystemExit(f"year: {module} ended with exit code {code}: see the end of {self.log}")
        return seconds

    def build(self, as_of: date, *overrides: str, now: datetime) -> tuple[dict[str, Any], float]:
        """Build and deploy as of a day, record the build, and return its verdict and its CPU seconds."""
        wanted = [f"as_of={as_of}", f"serving.port={self.port}", *self.overrides, *overrides]
        code, seconds = self.run("scripts.pipeline", *MAKE, *(f"--set={each}" for each in wanted), now=now)
        verdict = self.verdict(as_of, code)
        return verdict, seconds + self.must("scripts.report", "--record", now=now)

    def verdict(self, as_of: date, code: int) -> dict[str, Any]:
        """Return the verdict of the build that has just ended with an exit code: a blocked one ends badly."""
        written = self.folder / "build/evaluation/evaluation.json"
        found = json.loads(written.read_text(encoding="utf-8")) if written.exists() else {}
        if found.get("as_of") != str(as_of) or bool(code) != (found["verdict"] == "block"):
            raise SystemExit(f"year: the build of {as_of} ended with exit code {code}: see the end of {self.log}")
        return {"as_of": str(as_of), "verdict": found["verdict"], "reason": found["reason"]}

    def serve(self, now: datetime) -> None:
        """Make sure that the last release serves, on a port that is free now."""
        given = [each for each in self.read("build/overrides.json") if not each.startswith("serving.port=")]
        self.must("scripts.configure", *(f"--set={each}" for each in [*given, f"serving.port={self.port}"]), now=now)
        self.must("scripts.serve", now=now)

    def stop(self) -> None:
        """End the server, and whatever else still runs in the checkout, as after a year that was killed."""
        if (self.folder / "scripts").exists():
            self.run("scripts.stop", now=datetime.now(UTC))
        for number in running(self.folder):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)

    def release(self) -> dict[str, Any]:
        """Return the release that serves."""
        lines = (self.folder / "build/state/serving/releases.jsonl").read_text(encoding="utf-8").splitlines()
        found: dict[str, Any] = json.loads(lines[-1])
        return found

    def read(self, path: str) -> Any:
        """Return a JSON result."""
        return json.loads((self.folder / path).read_text(encoding="utf-8"))


@dataclass
class Life:
    """A policy and its weeks.

    Attributes:
        name: of the policy.
        root: folder of the whole year.
        model: its name.
        overrides: of the settings.
        tell: called with a line about each finished week.
        place: where it serves.
    """

    name: str
    root: Path
    model: str
    overrides: Sequence[str]
    tell: Callable[[str], None]
    place: Place = field(init=False)

    def __post_init__(self) -> None:
        self.place = Place(self.root / self.name, self.overrides, self.root / f"{self.name}.log")

    def begin(self, as_of: date) -> None:
        """Make the clone with the first release, which is the same for every policy."""
        kept = self.lived("first.json")
        if kept.exists():
            return
        self.place.stop()
        clone(self.root, self.place.folder)
        made, seconds = self.place.build(as_of, now=at(as_of))
        if made["verdict"] != "promote":
            raise SystemExit(f"year: the first build is not released: {made['verdict']}: {made['reason']}")
        write(kept, {"build": made, "building": seconds})
        self.tell(f"{self.name}: first release, as of {as_of}: {seconds:.0f} CPU s")

    def live(self, weeks: Sequence[date]) -> None:
        """Live the weeks that were not lived yet."""
        try:
            ready = False
            for number, first in enumerate(weeks, 1):
                if self.lived(f"{first}.json").exists():
                    continue
                if not ready:
                    self.recover(first)
                    self.place.stop()  # a year that was killed leaves its servers
                    self.place.serve(at(first))
                    ready = True
                result = self.week(first)
                write(self.lived(f"{first}.json"), result)
                self.tell(f"{self.name} {first} (week {number} of {len(weeks)}): {said(result)}")
        finally:
            self.place.stop()

    def recover(self, first: date) -> None:
        """Undo what a broken-off week has changed; a policy that changes nothing has nothing to undo."""

    def week(self, first: date) -> dict[str, Any]:
        """Live a week and return what was done."""
        return self.ask(first)

    def ask(self, first: date) -> dict[str, Any]:
        """Send the requests of a week through the served model, and keep the answers as a gateway would."""
        release = self.place.release()
        entries, answers = [], []
        url = f"http://127.0.0.1:{self.place.port}/v1/models/{self.model}:predict"
        with http.session() as session:
            for line in (self.root / f"traffic/{first}.jsonl").read_text(encoding="utf-8").splitlines():
                asked = json.loads(line)
                headers = {"X-Request-Id": asked["id"], "Content-Type": "application/json"}
                answer = session.post(url, data=asked["body"].encode(), headers=headers, timeout=120)
                answer.raise_for_status()
                known = {"id": asked["id"], "time": asked["time"], "release": release["digest"]}
                known |= {"version": release["version"], "path": f"/v1/models/{self.model}:predict", "status": 200}
                entries.append({**known, "number": len(entries), "request": asked["body"], "response": answer.text})
                made = answer.json()["outputs"]
                names = [f"{asked['id']}/{n}" if len(made) > 1 else asked["id"] for n in range(len(made))]
                answers.append(pd.DataFrame({ROW: names, "prediction": made}))
        text = "".join(json.dumps(entry) + "\n" for entry in entries)
        workspace.write_text(self.place.folder / "build/captured.jsonl", text)
        table = pd.concat(answers, ignore_index=True)
        path = self.lived(f"{first}.parquet")
        table.to_parquet(path.with_suffix(".part"), index=False)
        path.with_suffix(".part").replace(path)
        return {"release": release["version"], "as_of": release["as_of"], "watching": 0.0, "building": 0.0}

    def lived(self, name: str) -> Path:
        """Return the file of a finished step."""
        folder = self.root / "lived" / self.name
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name


class Monthly(Life):
    """Each month a new model, whatever is watched: it is compared with nothing, and no limit holds it back.

    A build knows the champion of its own checkout only, so each month has a new one.
    """

    def recover(self, first: date) -> None:
        """Go on in the checkout of the last month that was finished."""
        done = [
            json.loads(path.read_text()) for path in sorted(self.lived("").glob("2*.json")) if path.stem < str(first)
        ]
        made = [each["checkout"] for each in done if each.get("checkout")]
        self.place = Place(self.root / made[-1] if made else self.place.folder, self.overrides, self.place.log)

    def week(self, first: date) -> dict[str, Any]:
        """Live a week; if a month has begun with its end, build and deploy."""
        result, end = self.ask(first), first + WEEK
        if end.month == (end - WEEK).month:
            return result
        as_of = end - LONGEST  # all outcomes of the days before it are known
        new = Place(self.root / f"{self.name}-{end:%Y-%m}", self.overrides, self.place.log)
        new.stop()
        clone(self.root, new.folder)
        made, seconds = new.build(as_of, "gates.limits={}", now=at(end))
        if made["verdict"] == "block":  # it is no better than the mean, or breaks a behaviour check
            new.stop()
            return {**result, "build": made, "building": seconds}
        old, self.place = self.place, new
        old.stop()
        return {**result, "build": made, "building": seconds, "checkout": new.folder.name}


class Loop(Life):
    """Outcomes are joined, the window is watched, and it is decided whether to retrain: by the commands, every week."""

    def kept(self, first: date) -> Path:
        """Return the copy of what a week began with."""
        return self.root / f"{self.name}.before-{first}"

    def recover(self, first: date) -> None:
        """Go back to what a week began with, if it was begun."""
        if self.kept(first).exists():
            self.place.stop()
            copy(self.kept(first), self.place.folder)

    def week(self, first: date) -> dict[str, Any]:
        """Live a week: requests, outcomes, labels, monitor, decision, and what it asks for."""
        copy(self.place.folder, self.kept(first))
        shutil.rmtree(self.kept(first - WEEK), ignore_errors=True)
        result, end = self.ask(first), first + WEEK
        now, seconds = at(end), 0.0
        self.deliver(end, now)
        # The outcomes are joined with the requests that earlier windows had; this one's are too young.
        labels = False
        if (self.place.folder / "build/monitoring/requests.parquet").exists():
            seconds += self.place.must("scripts.labels", now=now)
            labels = self.place.read("build/state/history/labels.json")["watermark"] is not None
        seconds += self.place.must("scripts.monitor", now=now)
        seen = self.place.read("build/monitoring/monitoring.json")
        decision = {"retrain": False, "cause": None, "brake": None, "reason": "no day's labels are complete yet"}
        if labels:  # else a build would learn from days whose labels the shipped data have and nobody knows yet
            seconds += self.place.must("scripts.retrain", now=now)
            decision = self.place.read("build/retraining/decision.json")
        result["decision"] = {key: decision[key] for key in ("retrain", "cause", "brake", "reason")}
        result |= {"watching": seconds, "watched": {key: seen[key] for key in ("verdict", "reason", "rows")}}
        fell = [check for check in seen["checks"] if check["kind"] == "performance"]
        result["watched"]["performance"] = [{key: each[key] for key in ("verdict", "sentence")} for each in fell]
        if decision["retrain"]:
            code, building = self.place.run("scripts.retrain", "--start", now=now)
            made = self.place.verdict(date.fromisoformat(decision["as_of"]), code)
            result |= {"build": made, "building": building}
        return result

    def deliver(self, end: date, now: datetime) -> None:
        """Put the outcomes that became known in the week before a day into the inbox."""
        inbox = self.place.folder / "build/outcomes"
        inbox.mkdir(parents=True, exist_ok=True)
        weeks = [end - n * WEEK for n in range(1, 2 + LONGEST // WEEK + 1)]
        files = [path for week in weeks if (path := self.root / f"traffic/{week}.parquet").exists()]
        known = pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)
        target = json.loads((self.root / "traffic/task.json").read_text())["target"]
        inside = (known[KNOWN] <= pd.Timestamp(now)) & (known[KNOWN] > pd.Timestamp(now - WEEK))
        rows = known.loc[inside, [ROW, TARGET, KNOWN]].rename(columns={TARGET: target})
        rows.to_parquet(inbox / f"{end}.parquet", index=False)
        for path in sorted(inbox.glob("*.parquet"))[:-INBOX]:
            path.unlink()


POLICIES: dict[str, type[Life]] = {"never": Life, "monthly": Monthly, "loop": Loop}
WATCHING = ("monitoring.log=build/captured.jsonl", "labels.outcomes=build/outcomes", f"labels.id={ROW}",
            f"labels.known={KNOWN}")  # fmt: skip
"""What the loop's settings are beside those of pipeline.yaml."""


def clone(root: Path, folder: Path) -> None:
    """Make a checkout of the year's commit, with DVC's cache in common, in the place of whatever is there."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", "--shared", "--", str(root / "base"), str(folder)], check=True)
    (folder / ".dvc/config.local").write_text(f"[cache]\n    dir = {(root / 'cache').resolve()}\n", encoding="utf-8")


def copy(source: Path, to: Path) -> None:
    """Copy a checkout without the sockets of its servers; `to` is there only when all of it is."""
    part = to.with_name(f".{to.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(source, part, symlinks=True, ignore=shutil.ignore_patterns("*.sock"))
    shutil.rmtree(to, ignore_errors=True)
    part.rename(to)


def running(folder: Path) -> list[int]:
    """Return the processes that work in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):  # it has ended, or is somebody else's
            if path.readlink() == folder.resolve():
                found.append(int(path.parent.name))
    return found


def at(day: date) -> datetime:
    """Return the time of a day at which things are done."""
    return datetime.combine(day, HOUR)


def write(path: Path, value: Any) -> None:
    """Write a JSON file at once."""
    workspace.write_text(path, workspace.json_text(value))


def said(result: dict[str, Any]) -> str:
    """Return in a line what a week had."""
    parts = [f"release {result['as_of']}"]
    if "watched" in result:
        decision = result["decision"]
        parts += [
            result["watched"]["verdict"],
            ("retrain: " if decision["retrain"] else "not now: ") + decision["reason"],
        ]
    if "build" in result:
        parts.append(f"build of {result['build']['as_of']}: {result['build']['verdict']}: {result['build']['reason']}")
    return "; ".join([*parts, f"{result['watching'] + result['building']:.0f} CPU s"])


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
