"""In the place of Jenkins: checks what it needs of its pod, and only then says that it is ready.

What it checks is what Jenkins' image and its start scripts do: who it is, what it can write, the files that are copied
into the home, the configuration with its variables, the plugins, the token for the API server and what it may do. Then
it answers as the double of the remote API, with a job of the branches of the repository that its job names.
"""

import hashlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import urllib.request
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import casc  # type: ignore[import-not-found]
import double  # type: ignore[import-not-found]

HOME, REF = Path(os.environ["JENKINS_HOME"]), Path(os.environ["REF"])
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PARAMETERS = [{"name": name, "type": "StringParameterDefinition"} for name in ("AS_OF", "REQUEST")]


def check(what: str, holds: Any) -> None:
    print(f"{'checked' if holds else 'WRONG'}: {what}")
    if not holds:
        sys.exit(1)


def writable(folder: str) -> bool:
    try:
        (Path(folder) / ".tried").write_text("")
    except OSError:
        return False
    return True


def copy_reference() -> None:
    """Copy what is below the reference folder into the home: what is missing there, and what ends in .override."""
    for path in sorted(each for each in REF.rglob("*") if each.is_file()):
        target = HOME / str(path.relative_to(REF)).removesuffix(".override")
        if not target.exists() or path.name.endswith(".override"):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)  # over a file that is there: that must be writable
            shutil.copymode(path, target)


def variable(name: str) -> str | None:
    secret = Path(os.environ["SECRETS"]) / name
    return secret.read_text().rstrip("\n") if secret.is_file() else os.environ.get(name)


def ask(path: str, body: Any = None) -> Any:
    url = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}{path}"
    headers = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:  # noqa: S310
        return json.load(answer)


def may(verb: str, resource: str, namespace: str) -> bool:
    kind, _, subresource = resource.partition("/")
    attributes = {"verb": verb, "resource": kind, "subresource": subresource, "namespace": namespace}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    asked = {**review, "spec": {"resourceAttributes": attributes}}
    return bool(ask("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", asked)["status"]["allowed"])


class Jenkins(double.Controller):  # type: ignore[misc]
    """The double, with the branches of the repository and the hook's address."""

    def __init__(self, repository: str, job: str, notify: str) -> None:
        super().__init__()
        self.repository, self.notify, self.folder = repository, notify, f"/job/{job}/"
        self.commits: dict[str, str] = {}
        self.job(self.folder, branches=[])
        self.public = os.environ["JENKINS_URL"].rstrip("/")

    def answer(self, method: str, path: str, query: Any, form: Any, user: str, crumbed: bool) -> Any:
        if path == "/login":
            return 200, {}, b"Sign in"
        if path == "/git/notifyCommit":
            return self.notified(query)
        return super().answer(method, path, query, form, user, crumbed)

    def notified(self, query: dict[str, str]) -> Any:
        if hashlib.sha256(query.get("token", "").encode()).hexdigest() != self.notify:
            return 403 if query.get("token") else 401, {}, b"An access token is required"
        if query.get("url") != self.repository:
            return 200, {}, b"No Git consumers using it"
        listed = subprocess.run(["git", "ls-remote", "--heads", self.repository], capture_output=True, text=True)
        for line in listed.stdout.splitlines():
            commit, _, ref = line.partition("\trefs/heads/")
            if self.commits.get(ref) != commit:
                self.commits[ref] = commit
                self.build(ref)
                print(f"building {ref} at {commit}")
        return 200, {}, b"Scheduled indexing"

    def build(self, branch: str) -> None:
        path = f"{self.folder}job/{branch.replace('/', '%252F')}/"
        if path not in self.jobs:
            self.jobs[self.folder]["branches"].append(
                {"name": branch.replace("/", "%2F"), "displayName": branch, "url": self.public + path}
            )
            self.job(path, PARAMETERS)
        self._begin(self.jobs[path], "POST", "buildWithParameters", {"REQUEST": self.commits[branch]})


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # the first process of a container has no default for it
    check("runs as 1000:1000", (os.getuid(), os.getgid()) == (1000, 1000))
    for folder in (str(HOME), "/tmp", "/var/cache/jenkins"):  # noqa: S108
        check(f"{folder} is writable", writable(folder))
    check("the root file system is not", not writable(str(REF)))
    check("no wizard, and no port for agents", "runSetupWizard=false" in os.environ["JAVA_OPTS"])
    check("JENKINS_SLAVE_AGENT_PORT is empty", os.environ["JENKINS_SLAVE_AGENT_PORT"] == "")
    check(
        "no variables of Services named jenkins", not [name for name in os.environ if name.startswith("JENKINS_PORT")]
    )
    copy_reference()
    listed = [
        line.split(":")[0] for line in (HOME / "plugins.txt").read_text().splitlines() if line[:1] not in ("#", "")
    ]
    check(f"{len(listed)} plugins", listed and all((HOME / f"plugins/{name}.jpi").exists() for name in listed))
    configured = casc.load(Path(os.environ["CASC_JENKINS_CONFIG"]), variable)
    users = {user["id"]: user["password"] for user in configured["jenkins"]["securityRealm"]["local"]["users"]}
    check("the configuration loads, with a password for each user", all(users.values()))
    [folder] = (HOME / "jobs").iterdir()
    job = ElementTree.parse(folder / "config.xml")  # noqa: S314
    check(f"the job {folder.name}", job.getroot().tag.endswith("WorkflowMultiBranchProject"))
    notify = ElementTree.parse(HOME / "hudson.plugins.git.ApiTokenPropertyConfiguration.xml")  # noqa: S314
    cloud = configured["jenkins"]["clouds"][0]["kubernetes"]["namespace"]
    for right in ("create pods", "delete pods", "watch pods", "get pods/exec", "create pods/exec", "get pods/log"):
        check(f"may {right} in {cloud}", may(*right.split(), cloud))
    check(
        "may read no Secret there, and no pod here",
        not may("get", "secrets", cloud) and not may("list", "pods", "jenkins"),
    )
    [remote] = [each.text or "" for name in ("remote", "repositoryUrl") for each in job.iter(name)]
    [digest] = [each.text or "" for each in notify.iter("hash")]
    jenkins = Jenkins(remote, folder.name, digest)
    jenkins.secrets = {users["robot"]}
    print("ready")
    with double.serving(jenkins, 8080, "0.0.0.0"):  # noqa: S104
        threading.Event().wait()


if __name__ == "__main__":
    main()
