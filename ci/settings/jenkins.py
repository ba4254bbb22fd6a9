"""The sections of those around a build: its environments, the controller, and who is told."""

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ci.settings.cluster import Analysis
from ci.settings.kinds import Name, Section


class Environment(Section):
    """One of several places where the model serves, such as staging; what is null is as in `serving` and `rollout`."""

    context: str | None = None
    """Kubeconfig context of its cluster, as in `serving.context`."""
    overlay: Name | None = None
    """Folder of k8s/overlays, which also says the namespace; two environments of one cluster need two."""
    replicas: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Serving pods on a cluster."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """REST port on a machine without a cluster; each environment there needs its own."""
    analysis: Analysis | None = None
    """The watch over a canary there, in place of `rollout.analysis` as a whole."""
    approval: bool = False
    """Whether somebody must approve what is promoted to it."""
    approvers: list[Annotated[str, Field(max_length=100, pattern=r"^\S(.*\S)?$")]] = []
    """Names of those who may; empty: anybody may, as where Jenkins decides whom it asks."""

    @model_validator(mode="after")
    def _approved(self) -> "Environment":
        if self.approvers and not self.approval:
            raise ValueError("approvers are asked only with `approval: true`")
        return self


class Jenkins(Section):
    """The controller that builds this repository."""

    url: str | None = None
    """Its address for `scripts.jenkins_build` and retraining; null: that of `make jenkins` on Kind."""
    job: Annotated[str, Field(min_length=1)] = "model-pipeline"
    """The job, with its folders; a multibranch project as `scripts.jenkins` makes it, or any other."""
    branch: Annotated[str, Field(min_length=1)] | None = "main"
    """The branch that is built, as Git calls it; null for a job that has no branches."""
    repository: Annotated[str, Field(pattern=r"^(https?|ssh|git)://[^\s]+$|^[\w.-]+@[\w.-]+:[^\s]+$")] | None = None
    """Where a controller of ours fetches this repository; null: what `make push-demo` serves on Kind."""
    source: Literal["github", "git"] = "github"
    """Whose branches it discovers: GitHub's, with pull requests; or those of any Git repository, which has none."""
    credentials: bool = True
    """Whether the repository asks who fetches it: then GIT_USER and GIT_TOKEN of the controller's Secret do."""


_API = re.compile(r"https?://([\w.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?(/[\w./~-]*)?", re.ASCII)


class Notify(Section):
    """Who is told how the build of a pull request went."""

    to: Literal["github", "gitlab", "slack", "file"] | None = None
    """A comment on GitHub or GitLab, a message to a webhook that Slack's format suits, or a file; null: nobody."""
    url: Annotated[str, Field(min_length=1, max_length=2000)] | None = None
    """Address of the API, such as `https://gitlab.example.com/api/v4`, or the file; null: the public service's API."""
    repository: Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)+$")] | None = None
    """Repository of the pull requests, `OWNER/NAME`; GitHub and GitLab need it."""

    @model_validator(mode="after")
    def _whole(self) -> "Notify":
        if self.to in ("github", "gitlab") and self.repository is None:
            raise ValueError(f"`to: {self.to}` needs repository, such as OWNER/NAME")
        if self.to in ("github", "gitlab") and self.url is not None and not _API.fullmatch(self.url):
            raise ValueError("url is no address of an API: expected one such as https://gitlab.example.com/api/v4")
        if self.to == "file" and self.url is None:
            raise ValueError("`to: file` needs url, the file's name")
        return self
