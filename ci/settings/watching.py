"""The sections of what happens after a release: monitoring, labels, retraining, and what is kept of the past."""

from typing import Annotated

from pydantic import Field, model_validator

from ci.settings.kinds import Fraction, Section


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
