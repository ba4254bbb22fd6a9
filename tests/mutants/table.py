"""What is measured: modules and the tests that must notice a change in them, and which changes are made."""

import re

BESIDE: dict[str, tuple[str, ...]] = {
    "ci/rollout/decision.py": ("tests/ci/rollout/test_decision.py",),
    "ci/rollout/candidate.py": ("tests/ci/rollout/test_candidate.py",),
    "ci/rollout/analysis.py": ("tests/ci/rollout/test_analysis.py",),
    "ci/rollout/cluster/preflight.py": ("tests/ci/rollout/cluster/test_preflight.py",),
    "ci/kube/lease.py": ("tests/ci/kube/test_lease.py",),
    "ci/quality/verdict.py": ("tests/ci/quality/test_verdict.py",),
    "ci/quality/compare.py": ("tests/ci/quality/test_compare.py",),
    "ci/quality/metrics.py": ("tests/ci/quality/test_metrics.py",),
    "ci/quality/behaviour.py": ("tests/ci/quality/test_behaviour.py",),
    "ci/placement/check.py": ("tests/ci/placement/test_check.py",),
    "ci/placement/packing/certificate.py": ("tests/ci/placement/packing/test_certificate.py",),
    "ci/placement/handover.py": ("tests/ci/placement/test_handover.py",),
    "ci/packaging/package.py": ("tests/ci/packaging/test_package.py", "tests/ci/packaging/test_signature.py"),
    "ci/lineage.py": ("tests/ci/test_lineage.py",),
    "ci/monitoring/drift.py": ("tests/ci/monitoring/test_drift.py",),
    "ci/data/psi.py": ("tests/ci/data/test_psi.py", "tests/ci/monitoring/test_drift.py"),
    "ci/data/reference.py": ("tests/ci/data/test_reference.py", "tests/ci/monitoring/test_drift.py"),
    "ci/releases/ledger.py": ("tests/ci/releases/test_machine.py", "tests/ci/rollout/test_decision.py"),
    "ci/releases/cluster.py": ("tests/ci/releases/test_cluster.py",),
    "ci/releases/machine.py": ("tests/ci/releases/test_machine.py",),
}
"""By module, the tests that must fail when it is changed. Only fast ones: each runs once for every change."""

WHENS = (
    "tests/jenkins/test_decisions.py::test_a_build_runs_the_stages_that_it_should",
    "tests/test_jenkinsfile.py::test_whether_a_stage_runs_is_known_before_it_waits_for_its_pod_or_its_lock",
)
"""The tests that must fail when a condition of a stage in the Jenkinsfile is changed."""

SLOW = (
    "two_thousand_pods",
    "lost_a_tenth",
    "right_as_often",
    "two_percent_of_requests",
    "as_often_as_they_say",
    "very_many_days",
    "smallest_size_from_the_same",
    "thousand_races",
    "every_changed_byte",
    "more_kinds_than_can_be",
)
"""Parts of names of tests that are left out: each takes a second or more, and would be run for every change."""

LEAST = 85
"""Changes that must be noticed; percent."""
CAP = 60
"""Changes that are made in one module at most: of more, so many are drawn by the seed, the same each time."""
SEED = 0

OPERATORS = (
    *(f"core/ReplaceComparisonOperator_{pair}" for pair in ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt")),
    *(f"core/ReplaceComparisonOperator_{pair}" for pair in ("Lt_GtE", "LtE_Gt", "Gt_LtE", "GtE_Lt")),
    *(f"core/ReplaceComparisonOperator_{pair}" for pair in ("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")),
    *(f"core/ReplaceBinaryOperator_{pair}" for pair in ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul")),
    *(f"core/ReplaceBinaryOperator_{pair}" for pair in ("Mod_Mul", "Pow_Mul", "BitAnd_BitOr")),
    *("core/ReplaceUnaryOperator_Delete_Not", "core/ReplaceUnaryOperator_Delete_USub"),
    *("core/ReplaceUnaryOperator_Delete_Invert", "core/AddNot", "core/ReplaceTrueWithFalse"),
    *("core/ReplaceFalseWithTrue", "core/ReplaceAndWithOr", "core/ReplaceOrWithAnd", "core/ExceptionReplacer"),
    *("core/ReplaceBreakWithContinue", "core/ReplaceContinueWithBreak", "core/ZeroIterationForLoop"),
    *("core/NumberReplacer", "core/RemoveDecorator"),
)
"""Cosmic Ray's operators that are used. The others make what no test could miss (`+` to `<<`), or what changes nothing:
`|` is mostly in types, and `is` for `==` is the same for small numbers and words."""

LEFT_ALONE = {
    r"^\s*@(dataclass|property|classmethod|staticmethod|abstractmethod)": "mypy holds it, or nothing writes there",
    r"\bzip\(.*strict=True|^\s*strict=True,$": "both are equally long by construction",
    r"^[A-Z_][A-Z_, ]*(: [^=]+)? = ([0-9_.,*+e ]+$|re\.compile)": "the value of a bound is a choice",
    r"^\s*def .*\*, |^\s*\*,$": "that arguments are named is held by mypy",
    r"encoding=|errors=|timeout=": "how a file is read, or how long is waited",
}
"""Lines that are not changed, as patterns with the reason."""


def left_alone(line: str) -> bool:
    """Return whether a line of source is not changed."""
    return any(re.search(pattern, line) for pattern in LEFT_ALONE)
