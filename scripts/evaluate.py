"""Test the model on the holdout and decide: promote, keep or block. Writes build/evaluation/.

Reads build/settings.yaml, build/data/, build/model/ and build/champion.json. Writes evaluation.json (metrics with
intervals by resampling, slices, gates, behaviour checks, comparison, verdict), junit.xml, golden.json (requests
with the answers every copy of the model must give) and predictions.parquet.

Exit code 0 for every verdict: a stage that fails would lose its results. `scripts.pipeline` ends with 1 after `block`,
and so does `scripts.deploy`.
"""

import sys

from ci.command import command


def evaluate() -> None:
    """Evaluate and say what was decided."""
    from ci import configuration, workspace
    from ci.quality.evaluate import evaluate
    from ci.quality.verdict import unmeasured

    result = evaluate(configuration.effective())
    for name, metric in result["metrics"].items():
        if metric["value"] is None:
            print(f"  {unmeasured(name, metric['problem'])}")
        else:
            ends = ", ".join(f"{metric[end]:.4f}" for end in ("low", "high") if metric[end] is not None)
            print(f"  {name} {metric['value']:.4f} [{ends}]")
    for check in result["behaviour"]:
        if not check["holds"]:
            print(f"  {check['severity']}: {check['name']}: {check['measured']}")
    print(f"test: {result['verdict']}: {result['reason']} -> {workspace.EVALUATION}")


main = command(__doc__, evaluate)

if __name__ == "__main__":
    sys.exit(main())
