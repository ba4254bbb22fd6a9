"""The policy that holds what `tuner` makes lists exactly what the tuning Job has; `tests/cluster` tries it out."""

import ast
from collections.abc import Iterator
from typing import Any

import yaml

from tests.pods import REPOSITORY

KINDS = {
    "secrets": {"secret": "secretName", "secretKeyRef": "name", "secretRef": "name"},
    "configMaps": {"configMap": "name", "configMapKeyRef": "name", "configMapRef": "name"},
    "claims": {"persistentVolumeClaim": "claimName"},
}
"""By list of the policy, the fields of a pod that name such an object, and the key of the name."""


def test_the_tuner_may_give_its_pods_what_the_tuning_job_names_and_no_more():
    policy, _ = yaml.safe_load_all((REPOSITORY / "k8s/guard/tuner.yaml").read_text(encoding="utf-8"))
    job = yaml.safe_load((REPOSITORY / "ci/agents/tuning.yaml").read_text(encoding="utf-8"))
    listed = {each["name"]: each["expression"] for each in policy["spec"]["variables"]}
    for kind, fields in KINDS.items():
        named = {value[fields[key]] for key, value in everything(job["spec"]["template"]["spec"]) if key in fields}
        assert named == {*ast.literal_eval(listed[kind])}, f"{kind} in k8s/guard/tuner.yaml, not ci/agents/tuning.yaml"


def everything(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key of nested mappings and lists, with its value."""
    if isinstance(value, dict):
        yield from value.items()
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from everything(each)
