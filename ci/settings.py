"""The settings of a fork: one frozen model of `pipeline.yaml`, where a typo is an error.

Every number and name a fork sets has its meaning, unit and bounds here and nowhere else;
`python -m scripts.configure --explain` prints them as a table, `--schema` as a JSON schema. Reading files and
overrides is in `ci.configuration`.
"""

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from ci import references

_NAME = r"^[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?$"
Name = Annotated[str, Field(pattern=_NAME)]
"""A name that Kubernetes, image references and URLs all accept."""

EnvironmentName = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,14}[a-z0-9])?$")]
"""A short name: it is part of the path of a socket, which may have 107 bytes."""

Quantity = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) in (int, float) else value),
    Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"),
]
"""A Kubernetes quantity: `500m`, `2`, `1.5`, `4Gi`."""

Label = Annotated[str, Field(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?$")]
"""The key of a label or a taint, as Kubernetes writes it: `pool`, `nvidia.com/gpu`."""

LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")]
"""The value of a label, as Kubernetes takes it: 63 characters at most."""


def _device(name: str) -> str:
    """Refuse a name that is none of an extended resource."""
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", name):
        raise ValueError("the name of a device begins with a domain, such as nvidia.com/gpu")
    return name


Device = Annotated[str, AfterValidator(_device)]
"""The name of an extended resource."""


def _day(value: object) -> object:
    """Read a date that is written as text, as JSON and quoted YAML have it."""
    try:
        return date.fromisoformat(value) if isinstance(value, str) and value[4:8:3] == "--" else value  # no weeks
    except ValueError:
        return value


Day = Annotated[date, BeforeValidator(_day)]
"""A date; YAML's own, or the same as text."""


def _prefix(value: str) -> str:
    """Check what stands before a model's name in the name of its repository: a host, a path, or both."""
    if problem := references.problem(f"{value}/{'x' * 42}"):
        raise ValueError(problem)
    return value


def _registry(value: str) -> str:
    """Check the host of a registry, as the names of its images begin with it."""
    if references.problem(f"{value}/x") or references.split(f"{value}/x") != (value, "x"):
        raise ValueError("expected HOST or HOST:PORT of a registry, such as kind-registry:5000")
    return value


def _base(value: str) -> str:
    """Check the name of a listed image, or the reference of any other; only the latter has a slash."""
    if "/" not in value and not re.fullmatch(_NAME, value):
        raise ValueError("expected the name of an image of ci/images/images.yaml, or REPOSITORY:TAG")
    if "/" in value and (problem := references.image_problem(value)):
        raise ValueError(problem)
    return value


Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of the settings: immutable, strict about types, closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class Model(Section):
    """The model's identity."""

    name: Name
    """Name of the served model: the folder in the image and the path `/v1/models/NAME`."""


class Data(Section):
    """Where the data come from, and which days are for what."""

    source: Annotated[str, Field(min_length=1)] | None = None
    """File or folder that `model.data.load` reads; null means the data that the task ships with."""
    weights: Annotated[str, Field(min_length=1)] | None = None
    """File or folder with pretrained weights, which `build(hp, encoder, weights)` gets as a path; null: none."""
    holdout_days: Annotated[int, Field(ge=1, le=366)] = 14
    """The last days before `as_of`, kept for the test stage; days."""
    training_days: Annotated[int, Field(ge=2, le=3660)] = 108
    """Days before the holdout to learn from, as far as the data reach back; days."""
    validation_every: Annotated[int, Field(ge=2, le=100)] = 8
    """One day in so many of the training window is for validation; days."""
    traffic_days: Annotated[int, Field(ge=1, le=366)] = 14
    """Days after `as_of` that are sent through the served model where no real users are; days."""
    gap_days: Annotated[int, Field(ge=0, le=366)] = 0
    """Days before the holdout that belong to no part, as lagged fields of the holdout may hold them; days."""
    holdout_share: Annotated[float, Field(gt=0, le=0.9)] = 0.2
    """Where the task has no TIME: share of the rows that are kept for the test stage."""
    validation_share: Annotated[float, Field(gt=0, le=0.9)] = 0.1
    """Where the task has no TIME: share of the rows that are for validation."""
    traffic_share: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    """Where the task has no TIME: share of the rows that are sent through the served model where no real users are."""
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Where the task has no TIME: seed of the hash that puts a row into a part; another one is another holdout."""
    unreadable: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the rows that may be left out because a file that they name is missing or cannot be read."""

    @model_validator(mode="after")
    def _leaves_rows(self) -> "Data":
        if self.holdout_share + self.validation_share + self.traffic_share >= 1:
            raise ValueError("holdout_share, validation_share and traffic_share leave nothing to learn from")
        return self


class Objective(Section):
    """What tuning optimises."""

    name: Annotated[str, Field(pattern=r"^val_[a-z0-9_]+$")] = "val_loss"
    """A value that Keras logs on the validation rows after each epoch."""
    direction: Literal["min", "max"] = "min"
    """Whether less or more of it is better."""


class Tuning(Section):
    """The hyperparameter search and its budget."""

    strategy: Literal["bayesian", "random", "grid"] = "bayesian"
    """How the oracle picks the next trial."""
    objective: Objective = Objective()
    """What is optimised."""
    max_trials: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Trials at most."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 5
    """Epochs of a trial at most."""
    stop_poor_trials: bool = True
    """Whether trials that fall behind the others after 2, 4, 8, … epochs are stopped."""
    retries: Annotated[int, Field(ge=0, le=10)] = 1
    """How often a trial that failed is run again; three failed trials in a row end the search."""
    warm_start: bool = False
    """Whether a search begins with the best trials of the champion's, and with its scales of the hyperparameters."""
    workers: Annotated[int, Field(ge=1, le=1000)] = 1
    """Trials that run at the same time: processes on one machine, or pods of a Job on a cluster."""


class Training(Section):
    """The final training with the best hyperparameters."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Epochs at most."""
    patience: Annotated[int, Field(ge=1, le=1000)] = 2
    """Epochs without a better objective before training stops; the best epoch's weights are kept."""
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    """Rows in a gradient step."""
    threads: Annotated[int, Field(ge=1, le=256)] = 2
    """Threads of TensorFlow. Another number gives slightly different weights, so it is fixed here."""


Metric = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_ .()/-]{0,99}$")]
"""A metric that the task's kind has or that the task declares; of several outputs, `OUTPUT.METRIC`."""


class Limit(Section):
    """An absolute gate on one metric."""

    min: float | None = None
    """The metric must be at least this; the metric's unit."""
    max: float | None = None
    """The metric must be at most this; the metric's unit."""

    @model_validator(mode="after")
    def _one_bound(self) -> "Limit":
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min must not be more than max")
        return self


class Gates(Section):
    """What a model must reach on the holdout."""

    primary: Metric = "auc"
    """The metric by which challenger and champion are compared."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.9
    """Share of the resampled holdouts in which the challenger must be better to be promoted."""
    resamples: Annotated[int, Field(ge=100, le=100_000)] = 2000
    """Bootstrap resamples of the holdout's days."""
    slice_margin: Annotated[float, Field(ge=0)] = 0.03
    """A slice that lost more against the champion, and beyond chance, keeps the champion; the primary metric's unit."""
    slice_min_rows: Annotated[int, Field(ge=2)] = 500
    """Rows from which a slice is large enough to be judged; rows."""
    unscorable_champion: Literal["keep", "promote"] = "keep"
    """What to do if the champion cannot run on this holdout, as after a field was renamed: keep it, or replace it."""
    limits: dict[Metric, Limit] = {}
    """Absolute gates by metric; a model that misses one is blocked."""


class Packaging(Section):
    """The image that is shipped."""

    repository: Annotated[str, AfterValidator(_prefix)] = "localhost/models"
    """Image repository, `[HOST[:PORT]/]PATH`; the image is `REPOSITORY/NAME:VERSION`."""
    plain_http: list[Annotated[str, AfterValidator(_registry)]] = []
    """Registries that are spoken to without TLS, each `HOST[:PORT]`; those on this machine always are."""
    base: Annotated[str, AfterValidator(_base)] | None = None
    """Image that the model's layer is put on: its name in ci/images/images.yaml, or `REPOSITORY:TAG[@DIGEST]`; null:
    for the stand-in server on this machine."""
    signing_key: Annotated[str, Field(min_length=1)] | None = None
    """File with the private elliptic key (PEM) that signs packages; `$NAME` is a variable's path; null: unsigned."""
    verify_key: Annotated[str, Field(min_length=1)] | None = None
    """File with the public key; packages that it does not verify are not deployed; null: all may be."""


class Amounts(Section):
    """What a container requests."""

    cpu: Quantity
    """CPU request; cores or millicores."""
    memory: Quantity
    """Memory request; bytes with a Kubernetes suffix."""


class Toleration(Section):
    """A taint of nodes that a pod tolerates."""

    key: Label | None = None
    """Key of the taint; null: every taint, which needs the operator `Exists`."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """`Equal` wants the taint's value too, `Exists` takes any."""
    value: str | None = None
    """Value of the taint, for `Equal`."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; null: all of them."""

    @model_validator(mode="after")
    def _whole(self) -> "Toleration":
        if self.operator == "Equal" and self.key is None:
            raise ValueError("a toleration without a key needs `operator: Exists`")
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("`operator: Exists` takes every value: leave value out")
        return self


class Request(Amounts):
    """What one pod requests, as the scheduler counts it, and which nodes it may run on."""

    extended: dict[Device, Annotated[int, Field(ge=1, le=1000)]] = {}
    """Devices by the name of their resource, such as `nvidia.com/gpu: 1` or `amd.com/gpu: 1`."""
    node_labels: dict[Label, LabelValue] = {}
    """Labels that a node must have, as a pod's `nodeSelector`."""
    tolerations: list[Toleration] = []
    """Taints of nodes that are tolerated."""


class Resources(Section):
    """Requests of the pods that the pipeline starts. As shipped each fits a node of 2 CPU."""

    training: Request = Request(cpu="1500m", memory="4Gi")
    """The agent pod that trains."""
    tuning: Request = Request(cpu="1500m", memory="3Gi")
    """One pod of the tuning Job."""
    serving: Request = Request(cpu="1", memory="1Gi")
    """The server in one serving replica."""
    gateway: Amounts = Amounts(cpu="100m", memory="64Mi")
    """The proxy beside it."""


class Placement(Section):
    """The choice of nodes."""

    inventory: Annotated[str, Field(min_length=1)] | None = None
    """A recorded inventory (JSON); null means the embedded example of 20 nodes."""
    time_limit: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """Wall-clock limit of solver and hand-over together; seconds."""
    replicas_per_node: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Serving replicas on one node at most; null means all but one, so that the loss of a node leaves one."""
    affinity: Literal["preferred", "required"] = "preferred"
    """How pods are led to the planned nodes; `required` only for sets that survive the loss of any one node."""
    full: Literal["fail", "default"] = "fail"
    """When tasks fit nowhere: fail, or warn and leave everything to the scheduler's default."""


class Serving(Section):
    """The server of the model."""

    port: Annotated[int, Field(ge=1, le=65535)] = 8501
    """REST port; on a machine without a cluster the stand-in server listens here on the loopback address."""
    replicas: Annotated[int, Field(ge=1, le=1000)] = 3
    """Serving pods on a cluster; its autoscaler may add more."""
    server: Literal["tensorflow-serving", "stand-in"] = "tensorflow-serving"
    """Server on a cluster; the stand-in is for those that cannot pull TensorFlow Serving. A bare machine has it."""
    overlay: Name = "kind"
    """Folder of k8s/overlays with what is particular to the cluster."""
    batch_target: Annotated[float, Field(ge=0.001, le=10)] | None = None
    """Where the stand-in serves: how long a batch of requests that met may take; null: each is answered alone; seconds.
    TensorFlow Serving has its own batching: k8s/server/batching.config."""
    cache_mib: Annotated[int, Field(ge=8, le=1024)] | None = None
    """Memory of each gateway for answers of its version to requests that are asked again; null: none is kept; MiB."""
    grpc: bool = False
    """Whether clients reach TensorFlow Serving's gRPC on a cluster: past the gateway's limits, counters and capture."""
    context: str | None = None
    """Kubeconfig context of the cluster that serves; `-` is the current one, or the pod's own account; null means this
    machine."""

    @model_validator(mode="after")
    def _speaks_grpc(self) -> "Serving":
        if self.grpc and self.server == "stand-in":
            raise ValueError("grpc needs `server: tensorflow-serving`: the stand-in answers REST only")
        return self


class Analysis(Section):
    """When a canary's traffic counts as no worse than the stable version's, on a cluster."""

    window: Annotated[float, Field(gt=0, le=86400)] = 60.0
    """How long the canary is watched at least; seconds."""
    timeout: Annotated[float, Field(gt=0, le=86400)] = 600.0
    """Longest wait for enough traffic, after which the rollout fails; seconds."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.99
    """Confidence of each bound: at 0.99 and a margin of 0.01, 459 requests without an error are needed to pass."""
    error_margin: Annotated[float, Field(gt=0, le=1)] = 0.01
    """How much larger than the stable version's the canary's share of failed requests may be."""
    latency_ratio: Annotated[float, Field(ge=1, le=100)] = 1.5
    """How many times the stable version's the canary's median and 99th percentile of latency may be."""
    latency_margin: Annotated[float, Field(ge=0, le=60)] = 0.01
    """What is allowed on top, so that noise on fast models is no reason; seconds."""
    max_psi: Annotated[float, Field(gt=0, le=10)] = 0.25
    """Largest population stability index of its predictions against the stable version's; nats."""
    min_predictions: Annotated[int, Field(ge=10)] = 500
    """Predictions of each below which they are not compared; rows."""

    @model_validator(mode="after")
    def _window_fits(self) -> "Analysis":
        if self.window > self.timeout:
            raise ValueError(f"window {self.window:g} is longer than timeout {self.timeout:g}: nothing could ever pass")
        return self


class Rollout(Section):
    """How a new version takes over."""

    analysis: Analysis = Analysis()
    """The watch over a canary, on a cluster."""

    shadow: bool = False
    """Whether a challenger that was kept for lack of evidence is asked what clients asked, and compared on labels."""
    startup_timeout: Annotated[float, Field(gt=0, le=3600)] = 120.0
    """Longest wait for the new version to load its model; seconds."""
    drain_timeout: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """Longest wait for the old version to finish its requests; seconds."""
    golden_tolerance: Annotated[float, Field(gt=0, le=1)] = 1e-5
    """Largest difference between a served and an evaluated golden prediction; the prediction's unit. Between what was
    served and what the SavedModel answers offline, times the prediction where that is beyond 1."""


class Monitoring(Section):
    """When the traffic counts as drifted."""

    min_rows: Annotated[int, Field(ge=1)] = 500
    """Rows below which a window gets no verdict: small windows raise false alarms; rows."""
    psi_warn: Annotated[float, Field(gt=0, le=10)] = 0.1
    """Population stability index from which a feature has shifted; nats."""
    psi_drift: Annotated[float, Field(gt=0, le=10)] = 0.25
    """Population stability index from which a feature has drifted; nats."""
    capture_every: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    """Of so many predictions a gateway captures one; requests."""
    pushgateway: Annotated[str, Field(pattern=r"^https?://[^\s/@]+(/[^\s@]*)?$")] | None = None
    """Address of Prometheus' Pushgateway, which `scripts.metrics` pushes to; null: it only writes a file."""
    drop: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]] = []
    """Names of fields that are taken out of requests and answers before a gateway writes anything: what is secret."""

    season: list[Annotated[str, Field(min_length=1)]] = []
    """Features that change with the season: their drift is watched, and asks for nothing."""
    measured: bool = True
    """Whether thresholds of distributions are measured on whole periods of the training days, if there are five."""
    period_days: Annotated[int, Field(ge=1, le=366)] = 7
    """Length of a period, of which a window has one or more: whole weeks where weekdays differ; days."""

    log: Annotated[str, Field(min_length=1)] | None = None
    """File with captured requests, a JSON object a line, in place of a cluster's gateways; null: they are asked."""
    silent_hours: Annotated[float, Field(gt=0, le=8784)] = 24
    """Hours without a captured request from which it is told whether requests came; hours."""

    @model_validator(mode="after")
    def _ordered(self) -> "Monitoring":
        if self.psi_warn >= self.psi_drift:
            raise ValueError("psi_warn must be less than psi_drift")
        return self


class Labels(Section):
    """Outcomes that arrive late, and the data source that they become."""

    outcomes: Annotated[str, Field(min_length=1)] | None = None
    """A table of outcomes, or a folder of such: .csv, .jsonl or .parquet; null: none arrive."""
    id: Annotated[str, Field(min_length=1)] = "request_id"
    """The column of outcomes with the request's id, and of several rows in a request the row's, such as `id/0`."""
    key: list[Annotated[str, Field(min_length=1)]] = []
    """Fields that name a request in place of its id."""
    known: Annotated[str, Field(min_length=1)] = "known_at"
    """The column of outcomes with the time when each became known."""
    maturity_days: Annotated[int, Field(ge=0, le=3660)] | None = None
    """Days after which a day's labels are complete; null: as many as `quantile` of the labels take; days."""
    quantile: Annotated[float, Field(ge=0.5, le=0.999)] = 0.95
    """Share of the labels that must have come before a day is judged, or learned from."""
    into: Annotated[str, Field(min_length=1)] = "data/labelled"
    """The folder that labelled requests are written to, which DVC tracks: the next build's data.source."""


class Retraining(Section):
    """What asks for a retraining, and the brakes that hold it back."""

    drifted_features: Fraction = 0.3
    """Share of drifted features from which a retraining is asked for; drift of the prediction always asks."""
    windows: Annotated[int, Field(ge=1, le=100)] = 1
    """Windows in a row that must ask for it because of drift; where windows are short, choose more; windows."""
    max_age_days: Annotated[int, Field(ge=1, le=3660)] | None = None
    """Age of the serving model's data from which a retraining is asked for; null: at no age; days."""
    new_labels: Annotated[int, Field(ge=1)] | None = None
    """Rows labelled since the serving model was trained that ask for a retraining; null: no number does; rows."""
    cooldown_days: Annotated[int, Field(ge=0, le=366)] = 7
    """Days of new data that a retraining must have beyond the last; doubled by each that replaced nothing; days."""
    daily_budget: Annotated[int, Field(ge=1, le=100)] = 2
    """Retrainings that may begin within 24 hours; retrainings."""


class History(Section):
    """The record of finished builds."""

    folder: Annotated[str, Field(min_length=1)] = "build/state/history"
    """Folder of the record; where workspaces are thrown away, name one that is not."""
    keep: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Builds kept at most; builds."""
    request_days: Annotated[int, Field(ge=1, le=3660)] = 400
    """Days that captured requests, with the outcomes that were joined, are kept; days."""


class Retention(Section):
    """What `scripts.prune` leaves of the past."""

    releases: Annotated[int, Field(ge=1, le=1000)] = 5
    """Last releases whose images are kept, beside the champion of the last one and whatever runs; releases."""


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


class Settings(Section):
    """All settings of a fork."""

    schema_version: Literal[1]
    """Version of this file's structure."""
    as_of: Day | Literal["latest"]
    """Today: data before this date are known, later days are traffic to come; `latest` is the day after the data."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of everything random."""
    model: Model
    """The model's identity."""
    data: Data = Data()
    """Where the data come from, and which days are for what."""
    tuning: Tuning = Tuning()
    """The hyperparameter search."""
    training: Training = Training()
    """The final training."""
    gates: Gates = Gates()
    """What a model must reach."""
    packaging: Packaging = Packaging()
    """The image that is shipped."""
    resources: Resources = Resources()
    """Requests of the pods."""
    placement: Placement = Placement()
    """The choice of nodes."""
    serving: Serving = Serving()
    """The server."""
    rollout: Rollout = Rollout()
    """How a new version takes over."""
    monitoring: Monitoring = Monitoring()
    """When traffic counts as drifted."""
    labels: Labels = Labels()
    """Outcomes that arrive late."""
    retraining: Retraining = Retraining()
    """What asks for a retraining."""
    history: History = History()
    """The record of finished builds."""
    retention: Retention = Retention()
    """What is left of the past."""
    jenkins: Jenkins = Jenkins()
    """The controller."""
    release_branch: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w./-]{0,199}$")] = "main"
    """The branch whose builds release on Jenkins; those of other branches and of pull requests never do."""
    notify: Notify = Notify()
    """Who is told of pull requests."""
    environments: Annotated[dict[EnvironmentName, Environment], Field(exclude_if=lambda named: not named)] = {}
    """Where the model serves, in the order of promotion: builds release to the first. Empty: in one place."""

    _whole: "Settings | None" = PrivateAttr(default=None)
    _environment: str | None = PrivateAttr(default=None)

    @field_validator("environments")
    @classmethod
    def _apart(cls, named: dict[str, Environment], info: ValidationInfo) -> dict[str, Environment]:
        """Make sure that no two environments are the same place, and that builds can release to the first."""
        serving = info.data.get("serving", Serving())
        places: dict[object, str] = {}
        for number, (name, found) in enumerate(named.items()):
            at = _at(serving, found)
            if number == 0 and found.approval:
                raise _wrong(
                    name, "approval", True, "builds release to the first environment unasked: approve later ones"
                )
            place = (at.context, at.overlay) if at.context else at.port
            if (other := places.setdefault(place, name)) != name:
                key, what = ("overlay", "context and overlay") if at.context else ("port", "port")
                why = f"it has the {what} of {other}, and would be the same place: give it its own"
                raise _wrong(name, key, getattr(at, key), why)
        return named

    @property
    def environment(self) -> str | None:
        """The environment that these settings are for; None where there is one place only."""
        return self._environment

    @property
    def option(self) -> str:
        """What names that environment in a command line, with a space before it; empty where there is one place."""
        return f" --environment {self._environment}" if self._environment else ""

    def at(self, environment: str) -> "Settings":
        """Return the settings for one of the environments."""
        whole = self._whole or self
        found = whole.environments[environment]
        rollout = whole.rollout.model_copy(update={"analysis": found.analysis or whole.rollout.analysis})
        changed = whole.model_copy(update={"serving": _at(whole.serving, found), "rollout": rollout})
        changed._whole, changed._environment = whole, environment
        return changed

    def first(self) -> "Settings":
        """Return the settings for the environment that builds release to."""
        return self.at(next(iter(self.environments))) if self.environments else self

    def last(self) -> "Settings":
        """Return the settings for the environment whose release is the champion."""
        return self.at([*self.environments][-1]) if self.environments else self

    @property
    def source(self) -> Path | None:
        """The data source as a path, or None for the data that the task ships with."""
        return None if self.data.source is None else Path(self.data.source)

    @property
    def weights(self) -> Path | None:
        """The pretrained weights as a path, or None if there are none."""
        return None if self.data.weights is None else Path(self.data.weights)


def _at(serving: Serving, environment: Environment) -> Serving:
    """Return how an environment serves."""
    own = {name: getattr(environment, name) for name in ("context", "overlay", "replicas", "port")}
    return serving.model_copy(update={name: value for name, value in own.items() if value is not None})


def _wrong(name: str, key: str, value: object, why: str) -> ValidationError:
    """Return the error that a key of an environment is wrong, so that its line is told."""
    problem = PydanticCustomError("value_error", "{why}", {"why": why})
    details = InitErrorDetails(type=problem, loc=(name, key), input=value)
    return ValidationError.from_exception_data("environments", [details])
