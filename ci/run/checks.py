"""What `make ci` needs of this machine, one function for each check; `ci.run.doctor` prints them all."""

import json
import re
import shutil
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ci import git
from ci.errors import InputError
from ci.run.programs import attempt, last_words

PYTHON = ((3, 11, 2), (3, 12))
"""The first version of Python that is tested, and the first that is not."""
KUBECTL = (1, 30)
"""Oldest kubectl that renders k8s/."""
MEMORY, DISK, CORES = 8 * 2**30, 20 * 10**9, 2
"""What the cluster with its pods, and their images, need at least; bytes, bytes, cores."""


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        name: what was looked at.
        found: what there is, in words.
        mend: what to do about it; empty if nothing is wrong.
    """

    name: str
    found: str
    mend: str = ""

    @property
    def wrong(self) -> bool:
        """Whether something is to be mended."""
        return bool(self.mend)


def for_kind() -> list[Finding]:
    """Return the checks without which nothing can run on Kind."""
    return [docker(), kind(), kubectl()]


def require(findings: Sequence[Finding]) -> None:
    """Make sure that nothing is wrong.

    Raises:
        InputError: something is; the message has all of it.
    """
    if wrong := [each for each in findings if each.wrong]:
        raise InputError("; ".join(f"{each.name}: {each.found}: {each.mend}" for each in wrong))


def python(version: Sequence[int] = sys.version_info[:3]) -> Finding:
    """Check the version of the Python that runs this."""
    found = ".".join(map(str, version))
    if PYTHON[0] <= tuple(version) < PYTHON[1]:
        return Finding("Python", found)
    return Finding("Python", found, "Python 3.11 is needed, 3.11.2 or newer: `make PYTHON=/usr/bin/python3.11`")


def docker() -> Finding:
    """Check that Docker is there and its engine answers us."""
    if not shutil.which("docker"):
        return Finding("Docker", "not on the PATH", "install it: https://docs.docker.com/engine/install")
    done = attempt("docker", "info", timeout=20)
    if done.returncode == 0:
        return Finding("Docker", "runs")
    said = last_words(done)
    if "permission denied" in said.lower():
        return Finding("Docker", f"does not let us in ({said})", "`sudo usermod -aG docker $USER`, then log in again")
    return Finding("Docker", f"does not run ({said})", "start it: `sudo systemctl start docker`, or Docker Desktop")


def kind() -> Finding:
    """Check that Kind is there."""
    if not shutil.which("kind"):
        return Finding(
            "Kind", "not on the PATH", "install it: https://kind.sigs.k8s.io/docs/user/quick-start/#installation"
        )
    done = attempt("kind", "version", timeout=20)
    if done.returncode:
        return Finding("Kind", f"does not work ({last_words(done)})", "install it anew: https://kind.sigs.k8s.io")
    return Finding("Kind", done.stdout.strip())


def kubectl() -> Finding:
    """Check that kubectl is there and new enough."""
    where = "install it: https://kubernetes.io/docs/tasks/tools"
    if not shutil.which("kubectl"):
        return Finding("kubectl", "not on the PATH", where)
    done = attempt("kubectl", "version", "--client", "-o", "json", timeout=20)
    try:
        found = str(json.loads(done.stdout)["clientVersion"]["gitVersion"])
        version = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    except (ValueError, LookupError, TypeError):
        return Finding("kubectl", f"does not work ({last_words(done)})", where)
    if version < KUBECTL:
        return Finding("kubectl", found, f"{'.'.join(map(str, KUBECTL))} or newer is needed: {where}")
    return Finding("kubectl", found)


def engine() -> tuple[int, int]:
    """Return the cores and the bytes of memory that containers have: Docker's own, or those of this machine."""
    told = attempt("docker", "info", "--format", "{{.NCPU}} {{.MemTotal}}", timeout=20).stdout.split()
    if len(told) == 2 and all(part.isdigit() and int(part) for part in told):
        return int(told[0]), int(told[1])
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
    cores = sum(line.startswith("processor") for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines())
    return cores, int(lines["MemTotal"].split()[0]) * 1024


def room(cores: int, memory: int) -> Finding:
    """Check the cores and bytes of memory that containers have."""
    found = f"{memory / 2**30:.1f} GiB for {cores} cores"
    if memory >= MEMORY and cores >= CORES:
        return Finding("memory", found)
    return Finding(
        "memory",
        found,
        f"a cluster needs {CORES} cores and {MEMORY / 2**30:.0f} GiB: give Docker more, or use EXECUTOR=local",
    )


def disk(free: int) -> Finding:
    """Check the bytes that are free where images and results go."""
    found = f"{free / 1e9:.0f} GB free"
    if free >= DISK:
        return Finding("disk", found)
    return Finding("disk", found, f"images take {DISK / 1e9:.0f} GB: `docker system prune` and `make prune` free some")


FOR_THE_MODEL = "; `make stop` ends our own server, and `SET=serving.port=8601` takes another port"
"""What else can be done where the port that leads to the model is taken."""


def port(number: int, holder: str = "", way_out: str = FOR_THE_MODEL) -> Finding:
    """Check that a port of this machine is free.

    Args:
        number: the port.
        holder: who of ours has it; empty if nobody should.
        way_out: what else to do if another program has it.
    """
    name = f"port {number}"
    if holder:
        return Finding(name, f"leads to {holder}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError as error:
            return Finding(
                name,
                f"is taken ({error.strerror})",
                f"`ss -ltnp 'sport = :{number}'` shows who has it{way_out}",
            )
    return Finding(name, "free")


def repository() -> Finding:
    """Check that Git takes this folder for a repository that we may read."""
    found = git.checkout()
    if found.problem is None:
        return Finding("repository", f"commit {found.commit}"[:15])
    if "dubious ownership" in found.problem:
        here = Path.cwd()
        return Finding(
            "repository", f"{here} belongs to another user", f"`git config --global --add safe.directory '{here}'`"
        )
    if not found.repository:
        return Finding("repository", found.problem, "DVC needs one: run `git init`")
    return Finding("repository", found.problem, "see what `git status` says")
