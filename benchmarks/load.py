"""What clients see of a server under load: `wrk`, on one thread."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True)
class Load:
    """What some clients saw: median and 99th percentile of their latency (milliseconds), and requests a second."""

    median: float
    p99: float
    rate: float


def wrk(script: Path, url: str, clients: int, seconds: int) -> Load:
    """Return what `wrk` measured on one thread; every answer must be one."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "-s", str(script)]
    done = subprocess.run([*command, url], capture_output=True, text=True, check=True)
    said = done.stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"these requests were to be answered: {said}")
    found = {name: re.search(rf"{name}%\s+([\d.]+)(us|ms|s)", said) for name in ("50", "99")}
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if not (found["50"] and found["99"] and rate):
        raise SystemExit(f"wrk said something else: {said}")
    median, p99 = (float(each[1]) * _MILLISECONDS[each[2]] for each in (found["50"], found["99"]))
    return Load(median, p99, float(rate[1]))
