"""The commands of a build in pods, in the place of the real ones: they tell where they run, and leave what is carried.

What they are told to do wrong is in the folder that stands for the DVC remote.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

REMOTE = Path(os.environ["REMOTE"])
HANDOFF = Path("build/handoff.json")


def settings() -> str:
    """Return the effective settings, as far as they are asked for."""
    workers = 2 if "tuning.workers=2" in (REMOTE / "settings").read_text() else 1
    return f"model: {{name: m}}\ntuning: {{workers: {workers}}}\n"


def main(words: list[str]) -> int:
    """Run one command line, such as `pipeline tune`."""
    pod = os.environ["POD"]
    with (REMOTE / "ran").open("a") as file:
        file.write(f"{pod}: {' '.join(words)}\n")
    print(f"{pod} runs {' '.join(words)}; here are {sorted(path.name for path in Path().iterdir())}", flush=True)
    told = REMOTE / words[-1]  # such as `tune`: what happens to that command, once
    if told.exists():
        text = told.read_text()
        if text == "wait":
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                print("put back", flush=True)
                return 130
        told.unlink()
        print(text, flush=True)
        return 2 if text.startswith("bad input") else 1
    Path("build").mkdir(exist_ok=True)
    if words == ["pipeline", "configure", "champion"]:
        (REMOTE / "settings").write_text(os.environ.get("PIPELINE_SET", ""))
    if words == ["agent"]:
        Path("build/agent.json").write_text(Path("ci/agents/training.json").read_text())
    if words == ["handoff", "pack"]:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        files = {"build/agent.json": Path("build/agent.json").read_text(), "build/settings.yaml": settings()}
        if (REMOTE / "without").exists():
            del files[(REMOTE / "without").read_text()]
        HANDOFF.write_text(json.dumps({"commit": commit, "files": {**files, "by": pod}}))
    if words == ["handoff", "restore"]:
        Path("build/agent.json").write_text(json.loads(HANDOFF.read_text())["files"]["build/agent.json"])
    if words == ["pipeline", "prepare"]:
        Path("build/data").mkdir()
        Path("build/data/traffic.parquet").write_bytes(b"rows")
    if "report" in words:
        Path("build/report").mkdir()
        Path("build/report/index.html").write_text(f"by {pod}")
        Path("build/model").mkdir(exist_ok=True)
    return 0


if __name__ == "__main__":
    program, *words = sys.argv[1:]  # `python -m scripts.pipeline tune`, or `dvc pull`
    sys.exit(main([words[1].removeprefix("scripts."), *words[2:]] if program == "python" else ["dvc", *words]))
