"""The sections of where things run: requests of pods, the choice of nodes, the server, and how it is replaced."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ci.settings.kinds import Name, Section

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
