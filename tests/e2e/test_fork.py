"""A fork that swaps `model/` and `pipeline.yaml`, and edits nothing else, has the whole pipeline."""

import json
import math
import re
import urllib.request

import pytest

from ci.stages import CACHED, NAMES
from tests.e2e.forks import MAKE_MODEL, PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.e2e]


@pytest.fixture(scope="module")
def rerun(undisturbed):
    """The first build again, with nothing changed."""
    fork, _ = undisturbed
    return fork.build()


@pytest.fixture(scope="module")
def later(undisturbed, rerun):
    """Two months have passed; the rerun comes first, so that it finds the first build as it was left."""
    fork, _ = undisturbed
    return fork.build("--set=as_of=2014-09-01")


def test_every_stage_passes_and_the_model_is_promoted(undisturbed):
    _, build = undisturbed
    for stage in CACHED:
        assert f"Running stage '{stage}'" in build.said
    seconds = next(line for line in build.said.splitlines() if line.startswith("seconds: "))
    assert [stage for stage in NAMES if re.search(rf"\b{stage} \d", seconds)] == list(NAMES)
    assert build.said.splitlines()[-1].endswith("report: build/report/index.html")
    assert set(build.evaluation["metrics"]) == {"rmse", "mae", "bias"}
    assert build.evaluation["verdict"] == "promote", build.evaluation["reason"]
    assert build.manifest["image"]["reference"].startswith("registry.example/weather/seattle-heat:20140701")


def test_the_log_of_a_build_has_no_warnings(undisturbed):
    _, build = undisturbed
    assert not re.findall(r"(?i)^.*(?:warning|traceback|cuda|exception ignored).*$", build.said, re.MULTILINE)


def test_the_report_tells_of_the_forks_model_and_not_of_the_shipped_one(undisturbed):
    _, build = undisturbed
    for word in ("seattle-heat", "rmse", "temp_max_before", build.manifest["version"]):
        assert word in build.page, word
    assert "carrier" not in build.page


def test_the_served_model_answers_a_plain_request(undisturbed, rerun):
    fork, _ = undisturbed
    day = {
        "month": 7,
        "weather_before": "sun",
        "temp_max_before": 30.0,
        "temp_min_before": 15.0,
        "wind_before": 3.0,
        "precipitation_before": 0.0,
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{fork.port}/v1/models/seattle-heat:predict",
        json.dumps({"instances": [day, {**day, "weather_before": "hail"}]}).encode(),
    )
    with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
        predictions = json.load(reply)["predictions"]
    assert len(predictions) == 2
    assert all(math.isfinite(degrees) and 15 < degrees < 40 for degrees in predictions), predictions


def test_a_second_run_computes_nothing_rolls_nothing_out_and_finds_the_same(undisturbed, rerun):
    _, build = undisturbed
    assert "dvc: nothing to do" in rerun.said
    assert "Running stage" not in rerun.said
    assert "deploy: nothing to do" in rerun.said
    assert rerun.releases == build.releases
    assert rerun.package == build.package
    assert rerun.monitoring == build.monitoring


def test_a_change_that_no_stage_reads_runs_none_and_is_named(undisturbed, rerun):
    fork, build = undisturbed
    with (fork.folder / "README.md").open("a") as readme:
        readme.write("A sentence more.\n")
    said = fork.run("--set=rollout.drain_timeout=31", *MAKE_MODEL)
    assert "Running stage" not in said
    assert "dvc: no stage was run: none depends on README.md, rollout.drain_timeout, which changed" in said
    assert fork.text("package/SHA256SUMS") == build.package
    assert "nothing that it depends on has changed" in fork.text("runs.json")


def test_a_fresh_clone_with_the_same_remote_runs_no_stage_and_deploys(undisturbed, rerun, checkout, tmp_path):
    first, build = undisturbed
    clone = checkout("clone")
    for fork in (first, clone):
        (fork.folder / ".dvc/config.local").write_text(
            f"[core]\n    remote = here\n['remote \"here\"']\n    url = {tmp_path}\n"
        )
    first.dvc("push", "--run-cache")
    (first.folder / ".dvc/config.local").unlink()
    said = clone.run(*MAKE_MODEL)
    assert "Running stage" not in said
    for stage in CACHED:
        assert f"Stage '{stage}' is cached" in said
    assert clone.text("package/SHA256SUMS") == build.package
    assert "taken from the cache of runs" in clone.text("runs.json")
    assert "as release 1" in clone.run("deploy")


def test_a_blocked_model_ends_red_with_a_report_and_the_release_before_serves_on(undisturbed, rerun):
    fork, build = undisturbed
    process = fork.start("--set=gates.limits.rmse={max: 0.1}")
    assert process.wait(PATIENCE) == 1
    said = fork.said.read_text(encoding="utf-8").splitlines()
    assert said[-1].startswith("failed: the model is blocked: rmse ")
    assert said[-1].endswith("; nothing is deployed")
    assert any(line.startswith("block: rmse ") and line.endswith("report: build/report/index.html") for line in said)
    assert not any(line.startswith(("place:", "deploy:")) for line in said)
    assert fork.text("state/serving/releases.jsonl").count("\n") == len(build.releases)
    assert "block" in fork.text("report/summary.json")


def test_two_months_later_it_retrains_and_decides_against_the_champion_for_a_stated_reason(undisturbed, later):
    _, build = undisturbed
    assert "Running stage 'train'" in later.said
    assert later.manifest["as_of"] == "2014-09-01"
    assert later.manifest["digests"]["model"] != build.manifest["digests"]["model"]
    assert later.evaluation["champion"] == {"as_of": "2014-07-01", "problem": None}
    assert later.evaluation["comparison"] is not None
    assert "than the champion's" in later.evaluation["reason"]
    promoted = {"promote": True, "keep": False}[later.evaluation["verdict"]]
    served = [release["version"] for release in later.releases]
    assert served == [build.manifest["version"], *([later.manifest["version"]] if promoted else [])]
