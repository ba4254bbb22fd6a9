"""The manifests of the controller, with what a fork's settings say put into them; and its Secret.

Pure: from rendered objects to objects. Nothing of it is a template; named fields of XML and YAML are replaced.
"""

import copy
import hashlib
import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

from ci.errors import InputError
from ci.jenkins.remote import checked
from ci.settings.jenkins import Jenkins

Json = dict[str, Any]
NAMESPACE, AGENTS = "jenkins", "model-pipeline"
"""Where the controller runs, and where its agents do."""
SECRET = "jenkins"  # noqa: S105 - the name of an object
DEMO = "git://git.jenkins.svc.cluster.local/model.git"
"""The repository that `make push-demo` serves on Kind: ci/kind/jenkins/git.yaml."""
IMAGE = "registry.example.com/model-jenkins"
"""The image that manifests name before another is put in: that of ci/images/images.yaml."""
_JOB = "/usr/share/jenkins/ref/jobs/model-pipeline/config.xml.override"
_NAME = re.compile(r"[\w-](?:[\w. -]*[\w-])?")
"""A name that Jenkins gives a job, and that is a folder of its home."""
_NOT_GITHUB = {"gitlab", "gitea", "forgejo", "codeberg", "bitbucket"}
"""Words in the names of hosts that are not GitHub's, nor a GitHub of one's own."""
_SSH = re.compile(r"ssh://|[\w.-]+@[\w.-]+:")
"""How an address begins that is fetched by SSH."""
_CHECKSUM = "model-pipeline/configuration"


def put(objects: Sequence[Json], jobs: Mapping[str, str], settings: Jenkins, image: str) -> list[Json]:
    """Return the objects with image, job and address in them.

    Args:
        objects: what `kubectl kustomize` makes of ci/jenkins/controller or ci/kind/jenkins.
        jobs: the XML of the job by source, `git` and `github`.
        settings: of the fork; without a repository the job builds what `make push-demo` serves.
        image: the controller's, as nodes pull it.

    Raises:
        InputError: a setting does not fit.
    """
    if not _NAME.fullmatch(settings.job):
        raise InputError(
            f"jenkins.job: {settings.job!r}: a controller of ours has the job in no folder: name it by letters, "
            "digits, dots, spaces, - and _"
        )
    if settings.url is not None:
        checked(settings.url)
    if settings.branch is None:
        raise InputError(
            "jenkins.branch: null: a controller of ours has a job of branches: name the one that is released"
        )
    source = settings.source if settings.repository else "git"
    made = copy.deepcopy(list(objects))
    by_name = {(each["kind"], each["metadata"]["name"]): each for each in made}
    by_name["ConfigMap", "jenkins-job"]["data"] = {"config.xml": job(jobs[source], settings)}
    files = by_name["ConfigMap", "jenkins-configuration"]["data"]
    if source != "github":
        del files["github.yml"]  # its plugin's keys, for a webhook that nobody sends
    for each in made:
        if each["kind"] == "StatefulSet":
            for container in each["spec"]["template"]["spec"]["containers"]:
                if container["image"].startswith(IMAGE):
                    container["image"] = image
    template = by_name["StatefulSet", "jenkins"]["spec"]["template"]
    [container] = template["spec"]["containers"]
    for variable in container["env"]:
        if variable["name"] == "JENKINS_URL" and settings.url:
            variable["value"] = f"{settings.url.rstrip('/')}/"
    for mount in container["volumeMounts"]:
        if mount["mountPath"] == _JOB:
            mount["mountPath"] = _JOB.replace("model-pipeline", settings.job)
    configured = [by_name["ConfigMap", name]["data"] for name in ("jenkins-job", "jenkins-configuration")]
    digest = hashlib.sha256(json.dumps(configured, sort_keys=True).encode()).hexdigest()
    template["metadata"].setdefault("annotations", {})[_CHECKSUM] = digest
    return made


def job(text: str, settings: Jenkins) -> str:
    """Return the XML of the multibranch job with the fork's repository in it.

    Args:
        text: of ci/jenkins/controller.
        settings: of the fork.

    Raises:
        InputError: GitHub is the source, and the repository is not one of GitHub's addresses; it holds a password; or
            it is fetched by SSH.
    """
    reader = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))  # noqa: S314 - a file of ours
    root = ElementTree.fromstring(text, reader)  # noqa: S314
    [source] = root.iter("source")
    address = settings.repository or DEMO
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError as error:
        raise InputError(f"jenkins.repository: {address}: no address: {error}") from None
    if parts.password or (parts.username and parts.scheme in ("http", "https")):  # everybody could read it in the job
        raise InputError(
            f"jenkins.repository: who fetches from {parts.hostname} does not belong into its address: GIT_USER and "
            "GIT_TOKEN say that to `python -m scripts.jenkins secret`"
        )
    if _SSH.match(address):
        raise InputError(
            f"jenkins.repository: {address}: it is fetched by SSH, and a controller of ours has no key: name its https "
            "address; where it is not public, GIT_USER and GIT_TOKEN of `python -m scripts.jenkins secret` fetch it"
        )
    values = {"remote": address}
    if source.get("class", "").endswith("GitHubSCMSource"):
        words = parts.path.strip("/").removesuffix(".git").split("/")
        other = _NOT_GITHUB & {*(parts.hostname or "").split(".")}
        if parts.scheme != "https" or len(words) != 2 or not all(words) or other:
            raise InputError(
                f"jenkins.repository: {address}: with jenkins.source github expected https://github.com/OWNER/NAME, or "
                "the same of your own GitHub; anything else is jenkins.source git"
            )
        own = parts.hostname != "github.com"
        values = {
            "apiUri": f"https://{parts.netloc}/api/v3" if own else "https://api.github.com",
            "repoOwner": words[0],
            "repository": words[1],
            "repositoryUrl": f"https://{parts.netloc}/{'/'.join(words)}",
        }
    for name, value in values.items():
        [element] = source.iter(name)
        element.text = value
    if not settings.credentials or not settings.repository:
        [element] = source.iter("credentialsId")
        source.remove(element)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def secret(given: Mapping[str, str], draw: Callable[[], str]) -> Json:
    """Return the Secret of the controller.

    Args:
        given: `GIT_USER` and `GIT_TOKEN`, which fetch the repository, or are empty; `WEBHOOK_SECRET`, or it is drawn.
        draw: gives a new random text.
    """
    token = draw()
    values = {
        "ADMIN_PASSWORD": draw(),
        "ROBOT_PASSWORD": draw(),
        "NOTIFY_TOKEN": token,
        "GIT_USER": given.get("GIT_USER", ""),
        "GIT_TOKEN": given.get("GIT_TOKEN", ""),
        "WEBHOOK_SECRET": given.get("WEBHOOK_SECRET") or draw(),
        "notify.xml": _notify(token),
    }
    metadata = {"name": SECRET, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}


def _notify(token: str) -> str:
    """Return the file by which the Git plugin knows a token for /git/notifyCommit: by its digest."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    root = ElementTree.Element("hudson.plugins.git.ApiTokenPropertyConfiguration")
    known = ElementTree.SubElement(
        ElementTree.SubElement(root, "apiTokens"), "hudson.plugins.git.ApiTokenPropertyConfiguration_-HashedApiToken"
    )
    for name, value in (("uuid", str(uuid.uuid5(uuid.NAMESPACE_OID, digest))), ("name", "push"), ("hash", digest)):
        ElementTree.SubElement(known, name).text = value
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
