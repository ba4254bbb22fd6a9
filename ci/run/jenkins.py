"""The controller of this repository on a cluster of Kind: made, reached, pushed to, deleted; and one that is elsewhere.

said = jenkins.create(name, settings, image, print)        # tried by a dry run first
with jenkins.meant(settings.jenkins, name) as remote:      # the one that jenkins.url names, or that on Kind
    ...
jenkins.delete(name, print)                                # leaves nothing
"""

import base64
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from ci import git, references
from ci.errors import InputError, StageError
from ci.jenkins import rendering
from ci.jenkins.remote import Remote
from ci.jenkins.rendering import NAMESPACE, SECRET
from ci.kube.api import ApiServer
from ci.kube.context import Context
from ci.kube.forward import forward
from ci.registry import bases
from ci.run import clusters, images, local_registry
from ci.run.programs import attempt, last_words, output
from ci.settings.jenkins import Jenkins

CONTROLLER, KIND = Path("ci/jenkins/controller"), Path("ci/kind/jenkins")
USER = "robot"
"""Who starts builds on our controllers: it may read, build and stop the job, and nothing else."""
REMOTE = "demo"
"""The remote of this clone that leads to the repository on Kind."""
_OURS = "ext::kubectl --context "
"""How its address begins."""
_APPLY = ("apply", "--server-side", "--force-conflicts", "-f", "-")
_READY, _GONE = 900, 300
"""Longest waits for Jenkins to say that it is ready, and for its namespace to be gone; seconds."""
_NONE = "there is no controller on the cluster {} of Kind: `make jenkins` makes one"
Say = Callable[[str], None]


def manifests(folder: Path, settings: Jenkins, image: str) -> list[dict[str, Any]]:
    """Return what is applied.

    Args:
        folder: `CONTROLLER`, or `KIND`.
        settings: of the fork.
        image: the controller's.

    Raises:
        InputError: a setting does not fit.
        StageError: kubectl fails.
    """
    objects = list(yaml.safe_load_all(output("kubectl", "kustomize", str(folder))))
    jobs = {name: (CONTROLLER / f"job-{name}.xml").read_text(encoding="utf-8") for name in ("git", "github")}
    return rendering.put(objects, jobs, settings, image)


def create(name: str, settings: Jenkins, image: str, say: Say) -> None:
    """Put the controller on a cluster, and wait until it is ready. What is there is changed to what it is to be.

    Raises:
        InputError: a setting does not fit.
        StageError: the API server refuses an object, and then none was applied; or Jenkins does not get ready.
    """
    objects = manifests(KIND, settings, image)
    namespace, *others = sorted(objects, key=lambda each: each["kind"] != "Namespace")
    fresh = not _there(name)
    _kubectl(name, *_APPLY, given=json.dumps(namespace))  # without it the dry run of all others fails
    text = yaml.safe_dump_all(others)
    tried = attempt("kubectl", "--context", _context(name), *_APPLY, "--dry-run=server", given=text, timeout=120)
    if tried.returncode:
        if fresh:
            _kubectl(name, "delete", "namespace", NAMESPACE, timeout=_GONE)
        raise StageError(f"the API server refuses the controller, and nothing was applied: {last_words(tried)}")
    say(f"jenkins: {len(objects)} objects pass a dry run on {_context(name)}")
    if _secret(name) is None:
        made = rendering.secret(os.environ, lambda: secrets.token_urlsafe(24))
        _kubectl(name, "create", "-f", "-", given=json.dumps(made))
        say(f"jenkins: passwords drawn: Secret {SECRET} of namespace {NAMESPACE}")
    _kubectl(name, *_APPLY, given=text, timeout=120)
    say("jenkins: starting, which takes minutes the first time")
    for each in (f"statefulset/{SECRET}", "statefulset/git"):
        waited = ("rollout", "status", each, f"--namespace={NAMESPACE}", f"--timeout={_READY}s")
        done = attempt("kubectl", "--context", _context(name), *waited, timeout=_READY + 30)
        if done.returncode:
            raise StageError(f"{each} does not get ready: {last_words(done)}: {_why(name)}")


def greeting(name: str, settings: Jenkins) -> list[str]:
    """Return in lines how people reach it."""
    kubectl = f"kubectl --context {_context(name)} --namespace {NAMESPACE}"
    repository = settings.repository or "what `make push-demo` pushes"
    return [
        f"jenkins: ready, and builds {repository}",
        f"  {kubectl} port-forward service/jenkins 8080:8080     # then: http://127.0.0.1:8080",
        "  user admin, password:",
        f"  {kubectl} get secret {SECRET} --output go-template='{{{{.data.ADMIN_PASSWORD | base64decode}}}}'",
    ]


def delete(name: str, say: Say) -> None:
    """Delete the controller, its home, its passwords, the repository on Kind, and the agents that it left.

    Raises:
        StageError: the cluster does not answer.
    """
    _forget_remote(name)
    if name not in clusters.listed():
        say(f"jenkins: there is no cluster {name}")
        return
    _kubectl(name, "delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait", timeout=_GONE)
    agents = ("delete", "pods", "--all-namespaces", "--selector=model-pipeline/controller=jenkins", "--wait")
    _kubectl(name, *agents, timeout=_GONE)
    say(f"jenkins: nothing of it is left on {_context(name)}")


def _name_images(name: str, say: Say) -> None:
    """Let nodes of Kind find the agents' images under the names that ci/agents has: pods of Jenkins name them so.

    The images are built and pushed to the local registry if need be, and nodes ask that one first for the hosts of
    these names. A name with a digest that the local registry does not have is pulled from its own host as before.

    Raises:
        StageError: an image cannot be built, or the registry does not take it.
    """
    built = images.ready(images.AGENTS, say)
    listed = {entry.name: entry for entry in bases.read()}
    hosts = set()
    for each, reference in built.items():
        host, path = references.split(listed[each].repository)
        hosts.add(host)
        here, there = reference.partition("@")[0], f"{local_registry.HOST}/{path}:{listed[each].tag}"
        if attempt("docker", "image", "inspect", here).returncode:
            output("docker", "pull", here, timeout=_READY)
        output("docker", "tag", here, there)
        output("docker", "push", there, timeout=_READY)
    nodes = output("kind", "get", "nodes", "--name", name).split()
    for host in sorted(hosts - {local_registry.HOST, local_registry.INSIDE}):
        local_registry.mirror(nodes, host)
        say(f"jenkins: nodes look for images of {host} in the local registry first")


@contextmanager
def meant(settings: Jenkins, cluster: str) -> Iterator[Remote]:
    """Give the controller that settings mean, for as long as the block lasts.

    Args:
        settings: of the fork: without an address, the controller on Kind is meant.
        cluster: of Kind.

    Raises:
        InputError: nothing says who asks, or there is none on Kind.
    """
    if settings.url is not None:
        user, token = (os.environ.get(name, "") for name in ("JENKINS_USER", "JENKINS_TOKEN"))
        if not user or not token:
            raise InputError(f"{settings.url}: set JENKINS_USER and JENKINS_TOKEN to a user of it and an API token")
        yield Remote(settings.url, user, token)
        return
    clusters.require_name(cluster)
    found = _secret(cluster) if _listed(cluster) else None
    if found is None:
        raise InputError(f"{_NONE.format(cluster)}; or name yours in jenkins.url of pipeline.yaml")
    api = ApiServer(Context(_context(cluster)))
    with forward(api, NAMESPACE, f"{SECRET}-0", 8080) as url:
        yield Remote(url, USER, found["ROBOT_PASSWORD"])


def push(name: str, settings: Jenkins, branch: str | None, say: Say, *, agents: bool = True) -> None:
    """Push a branch of this clone to the repository on Kind, over a remote that stays for `git push demo`.

    The push goes through `kubectl exec`, so that only who may do that can write there.

    Args:
        name: the cluster's.
        settings: of the fork.
        branch: what is pushed; None is the branch that is checked out.
        say: takes a line for people.
        agents: whether to build the images that ci/agents names, and to let nodes find them.

    Raises:
        InputError: there is no such repository, or no branch is checked out.
        StageError: Git or the cluster fails.
    """
    if settings.repository:
        raise InputError(f"jenkins.repository is {settings.repository}: push there; null builds what is pushed to Kind")
    if not _listed(name) or not _there(name):
        raise InputError(_NONE.format(name))
    branch = branch or _git("symbolic-ref", "--quiet", "--short", "HEAD")
    if not branch:
        raise InputError("no branch is checked out: name one, as in `make push-demo BRANCH=main`")
    if (there := _git("remote", "get-url", REMOTE)) and not there.startswith(_OURS):
        raise InputError(f"the remote {REMOTE} of this clone leads to {there}: rename it, as ours has that name")
    if agents:
        _name_images(name, say)
    _git("remote", "remove", REMOTE)
    if _git("remote", "add", REMOTE, _remote(name)) is None:
        raise InputError("this folder is in no Git repository: `git init` makes it one")
    _git("config", "protocol.ext.allow", "user")  # a remote that is a command: for pushes that somebody types
    command = ["git", "push", REMOTE, f"refs/heads/{branch}:refs/heads/{branch}"]
    done = subprocess.run(command, env=git.environment(), stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise StageError(f"`{' '.join(command)}` failed with exit code {done.returncode}")
    say(
        f"jenkins: from now on `git push {REMOTE}` builds what you have committed; `make jenkins-build` follows a build"
    )


def _remote(name: str) -> str:
    return (
        f"ext::kubectl --context {_context(name)} --namespace {NAMESPACE} exec --stdin git-0 -- %S /srv/git/model.git"
    )


def _forget_remote(name: str) -> None:
    if _git("remote", "get-url", REMOTE) == _remote(name):
        _git("remote", "remove", REMOTE)
        _git("config", "--unset", "protocol.ext.allow", "^user$")


def _git(*words: str) -> str | None:
    """Return what Git says; None if it fails."""
    done = subprocess.run(["git", *words], env=git.environment(), capture_output=True, encoding="utf-8", check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _context(name: str) -> str:
    return f"kind-{name}"


def _kubectl(name: str, *words: str, given: str | None = None, timeout: float = 60.0) -> str:
    return output("kubectl", "--context", _context(name), *words, given=given, timeout=timeout)


def _listed(name: str) -> bool:
    """Tell whether Kind, if it is here, has a cluster of that name."""
    return bool(shutil.which("kind")) and name in clusters.listed()


def _there(name: str) -> bool:
    return bool(_kubectl(name, "get", "namespace", NAMESPACE, "--ignore-not-found", "--output=name"))


def _secret(name: str) -> dict[str, str] | None:
    """Return what the controller's Secret holds; None if there is none."""
    get = ("get", "secret", SECRET, f"--namespace={NAMESPACE}", "--ignore-not-found", "--output=json")
    found = _kubectl(name, *get)
    if not found.strip():
        return None
    return {key: base64.b64decode(value).decode() for key, value in json.loads(found)["data"].items()}


def _why(name: str) -> str:
    """Return what is known of pods that do not get ready: their events, and the last lines of Jenkins' log."""
    words: Sequence[tuple[str, ...]] = (
        ("get", "events", "--field-selector=type=Warning", "--output=jsonpath={.items[-1:].message}"),
        ("logs", f"{SECRET}-0", "--tail=5"),
    )
    said = [attempt("kubectl", "--context", _context(name), f"--namespace={NAMESPACE}", *each) for each in words]
    return " | ".join(line for done in said for line in done.stdout.splitlines() if line.strip()) or "no more is known"
