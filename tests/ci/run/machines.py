"""A machine whose Docker, Kind and kubectl are small shell scripts: they answer as the real ones and note each call.

What there is lies in files of one folder: `clusters`, `nodes.json`, `record.json`, `registry` (whether its container
runs), `network`, `context` (the current one). A file named after a command, such as `docker-info`, makes that command
fail with the file's text; `kind-create-hangs` lets `kind create` half make a cluster and never end.
"""

import json
import os
import stat
import sys
from pathlib import Path

import yaml

from tests.pods import REPOSITORY

_FAILS = """
fails() { if [ -f "$STATE/$1" ]; then cat "$STATE/$1" >&2; exit "${2:-1}"; fi; }
echo "$(basename "$0") $*" >>"$STATE/calls"
cd "$STATE"
"""
_KIND = """
case "$1 $2" in
  "version "*) fails kind-version; echo "kind v0.30.0 go1.24 linux/amd64" ;;
  "get clusters") if [ -s clusters ]; then cat clusters; else echo "No kind clusters found." >&2; fi ;;
  "get nodes") echo model-pipeline-control-plane; echo model-pipeline-worker ;;
  "create cluster")
    echo "$4" >>clusters
    cat >config.json
    if [ -f kind-create-hangs ]; then echo $$ >half-made; exec sleep 600; fi
    if [ -f kind-create ]; then rm clusters; fails kind-create; fi
    echo "kind-$4" >context
    cp whole.json nodes.json ;;
  "delete cluster") rm -f clusters nodes.json record.json ;;
  "export kubeconfig") rm -f no-context; echo "kind-$4" >context ;;
  *) echo "unknown command $*" >&2; exit 1 ;;
esac
"""
_KUBECTL = """
case "$*" in
  "config current-context") cat context 2>/dev/null || exit 1 ;;
  "config use-context "*) echo "$3" >context ;;
  "version --client -o json") fails kubectl-version; echo '{"clientVersion": {"gitVersion": "v1.34.1"}}' ;;
  "kustomize "*) echo "# all of $2" ;;
  *" get -o json nodes")
    if [ -f no-context ]; then echo 'error: context "kind-model-pipeline" does not exist' >&2; exit 1; fi
    if [ ! -f nodes.json ]; then echo "The connection to the server 127.0.0.1:6443 was refused" >&2; exit 1; fi
    cat nodes.json ;;
  *" get -o json configmap "*) if [ -f record.json ]; then cat record.json; fi ;;
  *" apply "*)
    cat >one
    if grep -q '"name": "model-pipeline-cluster"' one; then cp one record.json; fi
    fails kubectl-apply
    cat one >>applied ;;
  *) echo "unknown command $*" >&2; exit 1 ;;
esac
"""
_DOCKER = """
case "$*" in
  "info --format"*) fails docker-info; echo "4 17179869184" ;;
  "info"*) fails docker-info; echo "Server Version: 28.0" ;;
  "inspect -f {{.State.Running}} kind-registry")
    if [ -f registry ]; then cat registry; else echo "Error: No such object: kind-registry" >&2; exit 1; fi ;;
  "inspect -f {{json .NetworkSettings.Networks.kind}} kind-registry") cat network 2>/dev/null || echo null ;;
  "run "*) fails docker-run 125; echo true >registry; echo 4f2a ;;
  "start kind-registry") fails docker-start; echo true >registry ;;
  "rm -f kind-registry") rm -f registry network docker-run-once ;;
  "exec -i "*) cat >/dev/null ;;
  "exec "*) ;;
  "network connect kind kind-registry") echo '{}' >network ;;
  "image inspect "*) exit 1 ;;
  "build "*)
    for last; do :; done
    (cd "$last" && find . -type f | sort) >context-files
    fails docker-build; echo built ;;
  "push "*)
    fails docker-push
    PYTHON -c 'import sys, urllib.request as r; host, path = sys.argv[1].split("/", 1); path, tag = path.rsplit(":", 1)
url = f"http://{host}/v2/{path}/manifests/{tag}"
r.build_opener(r.ProxyHandler({})).open(r.Request(url, tag.encode(), method="PUT"))' "$2" ;;
  *) echo "unknown command $*" >&2; exit 1 ;;
esac
"""
READY = {"type": "Ready", "status": "True"}


class Machine:
    """The machine's state, in files."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.programs = folder / "bin"
        self.programs.mkdir(parents=True)
        for name, text in (("kind", _KIND), ("kubectl", _KUBECTL), ("docker", _DOCKER)):
            self.program(name, _FAILS + text.replace("PYTHON", f"'{sys.executable}'"))
        self.write("whole.json", json.dumps({"items": nodes()}))

    def program(self, name: str, text: str) -> None:
        """Write a shell script that is on the PATH."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\nSTATE='{self.folder}'\n{text}", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def write(self, name: str, text: str) -> None:
        """Write a file of the state."""
        (self.folder / name).write_text(f"{text}\n", encoding="utf-8")

    def read(self, name: str) -> str:
        """Return what a file of the state holds; empty if there is none."""
        path = self.folder / name
        return path.read_text(encoding="utf-8").strip() if path.exists() else ""

    def calls(self) -> list[str]:
        """Return the calls since this was asked last, and forget them."""
        found = self.read("calls").splitlines()
        self.write("calls", "")
        return [call for call in found if call]

    def environment(self) -> dict[str, str]:
        """Return the variables that lead to this machine."""
        return {
            "PATH": f"{self.programs}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }


def nodes(unready: str = "") -> list[dict]:
    """Return the Node objects of a whole cluster; all are ready, or none, for the reason given."""
    condition = {"type": "Ready", "status": "False", "message": unready} if unready else READY
    declared = yaml.safe_load((REPOSITORY / "ci/kind/cluster.yaml").read_text(encoding="utf-8"))["nodes"]
    return [
        {"metadata": {"name": f"node-{number}", "labels": node["labels"]}, "status": {"conditions": [condition]}}
        for number, node in enumerate(declared)
    ]
