"""A challenger that was kept for lack of evidence: when it becomes the shadow, and what its labels say."""

import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci import workspace
from ci.capture import records
from ci.errors import StageError
from ci.monitoring import checks, cohorts, labels, memory, shadow
from ci.packaging import card, package
from ci.results.build import CHAMPION
from ci.results.evaluation import EVALUATION, Evaluation
from ci.results.monitoring import Check, Labels, Shadow
from ci.settings import Settings
from ci.settings.building import Packaging
from ci.task import Field, Output, Task
from tests import builds

FIELDS = {"x": Field("float32"), "carrier": Field("string"), "hour": Field("int64")}
TASK = Task((Output("late", "binary", ("late",)),), "day", FIELDS, ("carrier",))
CHAMPION_IMAGE, OTHER = f"sha256:{'cd' * 32}", f"sha256:{'ef' * 32}"
SIGNATURE = {"inputs": {"x": "DT_FLOAT", "carrier": "DT_STRING", "hour": "DT_INT64"}, "outputs": {"late": {}}}
KEPT = {"verdict": "keep", "comparison": {"gain": 0.01, "low": -0.01, "high": 0.03, "share_better": 0.7}}
WORSE = {"column": "carrier", "slice": "UA", "rows": 900, "worse": True, **builds.METRIC}


def settings(**rollout):
    given = {"schema_version": 1, "as_of": date(2013, 4, 1), "model": {"name": "demo"}, "seed": 1}
    given |= {"history": {"folder": "history"}, "monitoring": {"min_rows": 200}}
    return Settings.model_validate({**given, "rollout": {"shadow": True, **rollout}})


def better(share):
    return {"verdict": "keep", "comparison": {**KEPT["comparison"], "share_better": share}}


@pytest.mark.parametrize(
    ("changed", "undecided"),
    [
        (KEPT, True),
        (better(0.11), True),
        (better(0.89), True),
        (better(0.05), False),
        ({**KEPT, "verdict": "promote"}, False),
        ({**KEPT, "verdict": "block"}, False),
        ({**KEPT, "champion": None}, False),
        ({**KEPT, "comparison": None}, False),
        ({**KEPT, "champion": {"as_of": "2013-05-01", "problem": None}}, False),
        ({**KEPT, "slices": [WORSE]}, False),
    ],
    ids=[
        "chance", "nearly worse", "nearly better", "worse", "promoted", "blocked", "no champion", "not compared",
        "older", "a slice",
    ],
)  # fmt: skip
def test_only_what_was_kept_for_lack_of_evidence_may_be_a_shadow(changed, undecided):
    assert (
        shadow.undecided(Evaluation.model_validate_json(workspace.json_text(builds.evaluation(**changed)))) is undecided
    )


@given(st.floats(0.51, 0.999), st.integers(1, 200))
def test_however_often_it_is_looked_at_all_looks_together_err_no_more_than_one_would(level, looks):
    assert sum(1 - shadow.confidence(level, look) for look in range(1, looks + 1)) <= 1 - level + 1e-12
    assert shadow.confidence(level, looks + 1) > shadow.confidence(level, looks) > level


@pytest.mark.parametrize(
    ("share", "gain", "worse", "word", "said"),
    [
        (0.96, 0.02, [], "watch", "the shadow is better: auc 0.0200 better than the champion's, better in 96.0%"),
        (0.94, 0.02, [], "ok", "the shadow is not known to be better"),
        (0.06, -0.02, [], "ok", "the shadow is not known to be better: auc 0.0200 worse than"),
        (0.04, -0.02, [], "ok", "the shadow is worse: auc 0.0200 worse than"),
        (0.0, 0.0, [], "ok", "the shadow is not known to be better"),
        (0.99, 0.02, ["carrier UA"], "ok", "the shadow is worse on carrier UA; auc 0.0200 better"),
    ],
)
def test_the_verdict_needs_the_level_and_no_worse_slice(share, gain, worse, word, said):
    found = shadow.decide(share, gain, 0.95, worse, "auc")
    assert found[0] == word
    assert found[1].startswith(said)


def check(word):
    return Check(name="shadow", kind="shadow", number=0, threshold=None, method="", verdict=word, sentence="")


@pytest.mark.parametrize(("found", "gives_way"), [(None, False), (check("ok"), True), (check("watch"), False)])
def test_a_shadow_gives_way_once_it_was_compared_and_is_not_better(found, gives_way):
    there = Shadow(digest=OTHER, version="1", as_of=date(2013, 4, 1), champion=CHAMPION_IMAGE, found=found)
    assert shadow.gives_way(there) is gives_way


def test_a_better_shadow_is_no_alarm_about_the_window():
    other = check("ok").model_copy(update={"kind": "service"})
    assert checks.worst([check("watch"), other]) == ("ok", "1 checks are ok")
    assert checks.worst([check("watch"), other.model_copy(update={"verdict": "watch"})])[0] == "watch"
    assert checks.worst([check("watch")])[0] == "ok"


@pytest.fixture
def build(tmp_path, monkeypatch, plain_model):
    """The workspace after a build whose challenger was kept for lack of evidence; evaluations may differ."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(card, "render", lambda *_: "a card")
    Path("requirements.txt").write_text("numpy==2.4.6\n    # via tensorflow\n")
    workspace.write_text(workspace.CARD, "words")
    shutil.copytree(plain_model, workspace.MODEL / "saved_model")
    workspace.write_json(workspace.EVALUATION / "golden.json", {"instances": [{"x": 1.0}], "predictions": [0.5]})
    workspace.write_json(workspace.EVALUATION / "reference.json", {})
    CHAMPION.write({"digest": CHAMPION_IMAGE, "version": "1", "as_of": "2013-03-01", "release": 1})

    def made(**evaluation):
        EVALUATION.write(builds.evaluation(**{**KEPT, **evaluation}))
        names = ("data", "settings", "code")
        with workspace.replacing(workspace.PACKAGE) as folder:
            digests = dict.fromkeys(names, OTHER)
            return package.assemble(folder, "demo", Packaging(), date(2013, 4, 1), digests, SIGNATURE)

    return made


def there():
    return memory.shadow(settings().history).read_if_there()


def test_the_kept_challenger_of_this_build_becomes_the_shadow_until_another_release_serves(build):
    manifest = build()
    assert shadow.adopt(settings(shadow=False), CHAMPION_IMAGE) is None
    assert shadow.adopt(settings(), OTHER) is None
    said = shadow.adopt(settings(), CHAMPION_IMAGE)
    assert (
        said == f"version {manifest['version']} was kept for lack of evidence: it is the champion's shadow from now on"
    )
    assert (there().digest, str(there().as_of)) == (manifest["image"]["digest"], "2013-04-01")
    assert shadow.adopt(settings(), CHAMPION_IMAGE) is None
    assert shadow.look(settings(), TASK, OTHER, "2") == []
    assert shadow.adopt(settings(), OTHER).endswith("is no shadow any more: another release serves")
    assert there() is None
    assert not Path("history/shadow").exists()


def test_turned_off_it_is_removed(build):
    build()
    shadow.adopt(settings(), CHAMPION_IMAGE)
    assert shadow.look(settings(shadow=False), TASK, CHAMPION_IMAGE, "1") == []
    assert shadow.adopt(settings(shadow=False), CHAMPION_IMAGE).endswith("rollout.shadow is off")
    assert there() is None


def test_neither_a_promoted_one_nor_one_of_another_evaluation_becomes_the_shadow(build):
    build(verdict="promote")
    assert shadow.adopt(settings(), CHAMPION_IMAGE) is None
    build()
    EVALUATION.write(builds.evaluation(**KEPT, rows=139))
    assert shadow.adopt(settings(), CHAMPION_IMAGE) is None
    assert there() is None


def test_a_package_that_was_changed_is_refused(build):
    build()
    (workspace.PACKAGE / "golden.json").write_text("{}")
    with pytest.raises(StageError, match="was changed"):
        shadow.adopt(settings(), CHAMPION_IMAGE)
    assert there() is None


def asked(days, sign, noise, version="1", per_day=60):
    """Requests from the first of April on, with outcomes; the champion's answers follow x, with noise."""
    random, count = np.random.default_rng(3), days * per_day
    x = random.normal(0, 10, count)
    late = (sign * x + random.normal(0, 10, count) > 0).astype(float)
    start = pd.Timestamp("2013-04-01", tz="UTC")
    table = pd.DataFrame({records.TIME: [start + pd.Timedelta(days=n // per_day, seconds=n) for n in range(count)]})
    table = table.assign(**{records.ID: [f"r{n}" for n in range(count)], records.VERSION: version, "x": x})
    answers = 1 / (1 + np.exp(-(sign * x + random.normal(0, noise, count)) / 10))
    table = table.assign(carrier="UA", hour=3, prediction=answers, late=late)
    return table.assign(**{labels.KNOWN: table[records.TIME] + pd.Timedelta(days=1)})


def labelled(table, until):
    cohorts.keep(Path("history/requests"), table)
    told = Labels(
        counts={}, maturity_days=1, method="declared", watermark=date.fromisoformat(until), labelled={}, source="x"
    )
    memory.labels(settings().history).write(told)


@pytest.mark.parametrize(
    ("sign", "noise", "word", "said"),
    [
        (1, 40.0, "watch", "the shadow is better: auc on 840 requests of 14 mature days"),
        (1, 0.0, "ok", "the shadow is not known to be better"),
        (-1, 1.0, "ok", "the shadow is worse on carrier UA; "),
    ],
)
def test_it_is_compared_on_the_same_requests_of_mature_days(build, sign, noise, word, said):
    manifest = build()
    shadow.adopt(settings(), CHAMPION_IMAGE)
    table = asked(20, sign, noise)
    labelled(table, "2013-04-15")
    [found] = shadow.look(settings(), TASK, CHAMPION_IMAGE, "1")
    assert (found.verdict, found.kind, found.name) == (word, "shadow", f"shadow {manifest['version']}")
    assert found.sentence.startswith(said)
    kept = there()
    assert (kept.looks, str(kept.until), kept.found) == (1, "2013-04-15", found)
    assert shadow.look(settings(), TASK, CHAMPION_IMAGE, "1") == [found]
    assert there().looks == 1, "no further day is mature"
    labelled(table, "2013-04-19")
    [again] = shadow.look(settings(), TASK, CHAMPION_IMAGE, "1")
    assert there().looks == 2
    assert "1080 requests of 18 mature days" in again.sentence
    assert again.method.startswith("look 2")


def test_it_waits_for_enough_labels_of_this_champion(build):
    build()
    shadow.adopt(settings(), CHAMPION_IMAGE)
    wait = [check.sentence for check in shadow.look(settings(), TASK, CHAMPION_IMAGE, "1")]
    assert wait == ["the shadow waits for labels"]
    labelled(asked(10, 1, 0.0, version="0"), "2013-04-08")
    for version, rows in (("1", 0), ("0", 420)):
        [found] = shadow.look(settings(), TASK, CHAMPION_IMAGE, version)
        waits = f"the shadow waits for labels: there are {rows} of 200, on mature days"
        assert (found.sentence == waits) is (rows < 200)


def test_a_model_that_cannot_be_asked_is_told_with_its_folder(build):
    build()
    shadow.adopt(settings(), CHAMPION_IMAGE)
    labelled(asked(10, 1, 0.0), "2013-04-08")
    Path("history/shadow/model/saved_model.pb").write_bytes(b"no graph")
    with pytest.raises(StageError, match=r"history/shadow: the shadow cannot be asked: .*; remove that folder"):
        shadow.look(settings(), TASK, CHAMPION_IMAGE, "1")
