"""Results of the place stage."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from ci import workspace
from ci.results.file import Count, File, Many, Real, Result, Whole

Weight = Annotated[str, Field(pattern=r"^-?[0-9]{1,400}(/[0-9]{1,400})?$")]
"""A fraction, as Python writes it."""
Big = Annotated[int, Field(gt=-(2**200), lt=2**200)]


class Pod(Result):
    """A pod to place, and what it requests: milliCPU, bytes, counts."""

    name: str
    group: str
    requests: dict[str, Count]


class Certificate(Result):
    """The proof of a bound, and the program that it is about; see `ci.placement.packing.certificate`."""

    requests: Many[Many[Whole]]
    free: Many[Many[Whole]]
    resources: Many[str]
    rule: Many[Count]
    allowed: Many[Many[bool]]
    zone: Many[Count]
    zoned: Many[Count]
    preferred: Many[bool]
    scale: Annotated[int, Field(ge=1, lt=2**200)]
    prices: Many[Big]
    weights: Many[Weight]
    units: Many[tuple[Count, Annotated[int, Field(ge=1, lt=2**63)]]]
    fees: Many[tuple[Count, Count, Big]]
    unplaced: bool
    listed: bool = False
    proves: Whole


class Plan(Result):
    """Which node each pod is planned on, and the bound with its proof.

    `sets` has by group the names of the nodes that its pods are led to; a group without an entry is left to the
    scheduler. With `required` its pods may go nowhere else, otherwise they only prefer these nodes.
    `not_modelled` names what the scheduler checks and the plan does not; then `proven` is false.
    """

    inventory: str
    nodes: Count
    objective: Count
    bound: Count
    gap: Real
    proven: bool
    not_modelled: Many[str] = Field(default=[])
    least_unplaced: Count
    plan: dict[str, str]
    sets: dict[str, Many[str]]
    required: bool = False
    unplaced: Many[str]
    pods: Many[Pod]
    certificate: Certificate | None = None
    environment: str | None = None
    """Whose pods it is about, if there are several."""


class Expression(Result):
    """A demand on a label of a node."""

    key: str
    operator: str
    values: Many[str] = Field(default_factory=list)


class Term(Result):
    """Demands that a node must meet all of."""

    matchExpressions: Many[Expression]  # noqa: N815 - Kubernetes' own names, here and below


class Preferred(Result):
    """Nodes that are preferred to others by this weight."""

    weight: Annotated[int, Field(ge=1, le=100)]
    preference: Term


class Required(Result):
    """Nodes of which one must be; the terms are alternatives."""

    nodeSelectorTerms: Annotated[list[Term], Field(min_length=1)]  # noqa: N815


class NodeAffinity(Result):
    """What a plan asks of the scheduler about nodes."""

    preferredDuringSchedulingIgnoredDuringExecution: Many[Preferred] = Field(default_factory=list)  # noqa: N815
    requiredDuringSchedulingIgnoredDuringExecution: Required = Required(nodeSelectorTerms=[Term(matchExpressions=[])])  # noqa: N815


class Affinity(Result):
    """Affinity of pods to nodes."""

    nodeAffinity: NodeAffinity  # noqa: N815


class SpreadConstraint(Result):
    """How evenly pods are to be spread."""

    maxSkew: Count  # noqa: N815
    topologyKey: str  # noqa: N815
    whenUnsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]  # noqa: N815
    labelSelector: dict[str, JsonValue]  # noqa: N815
    matchLabelKeys: Many[str] = Field(default_factory=list)  # noqa: N815


class PodFields(Result):
    """The fields that a plan gives to the pods of a group, as Kubernetes understands them."""

    affinity: Affinity
    topologySpreadConstraints: Many[SpreadConstraint] = Field(default_factory=list)  # noqa: N815


class Timing(Result):
    """Wall time of the solver; seconds."""

    seconds: Real


class Actual(Result):
    """Which pods are not on the nodes that the plan has for their group, in sentences."""

    inventory: str
    found: Many[str]


PLAN: File[Plan] = File(workspace.PLACEMENT / "plan.json", Plan, most=32 * 2**20)
HANDOVER: File[dict[str, PodFields]] = File(workspace.PLACEMENT / "handover.json", dict[str, PodFields])
"""By group, the fields that its pods get."""
TIMING: File[Timing] = File(workspace.PLACEMENT / "timing.json", Timing)
ACTUAL: File[Actual] = File(workspace.PLACEMENT / "actual.json", Actual)
