"""Which stages a build runs, by branch, pull request, parameters, changed files, verdict, failing stage, environment.

The table says what is wanted of the Jenkinsfile, not what it does. Every condition in it is changed once, too: a row of
the table must notice.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.jenkins.decisions import Ran, Row, run
from tests.pods import REPOSITORY

JENKINSFILE = REPOSITORY / "Jenkinsfile"
PLAN = ("Plan", "Checkout", "Request", "Pods")
TRAIN = (*PLAN, "Model", "Restore", "Begin", "Prepare", "Check", "Tune", "Train", "Test", "Package")
RELEASE = (*TRAIN, "Release", "Place", "Deploy", "Monitor")
SEARCH = (*PLAN, "Search", *TRAIN[len(PLAN) :])
CHECK = ("Plan", "Checkout", "Target branch", "Request", "Pods", "Pull request")
REFUSED = ("Plan", "Checkout", "Request")
PR_REFUSED = ("Plan", "Checkout", "Target branch", "Request")
ROLLBACK = (*REFUSED, "Rollback")
PROMOTE = (*REFUSED, "Promote")
APPROVED = (*REFUSED, "Candidate", "Approve", "Promote")
TWO = {"environments": {"staging": {"port": 8502}, "production": {"port": 8503, "approval": True}}}
PLAIN = {"environments": {"staging": {"port": 8502}, "production": {"port": 8503}}}
TOLD = {"notify": {"to": "github", "repository": "team/model"}}
EVERYTHING = "train release check notify approve promote rollback"


def given(**params: str) -> dict[str, str]:
    return params


TABLE: dict[str, tuple[Row, tuple[str, ...], str]] = {
    # What a branch does.
    "the release branch trains and releases": (Row(), RELEASE, "SUCCESS"),
    "a job of one branch does too": (Row(None), RELEASE, "SUCCESS"),
    "another branch only trains": (Row("feature/x"), TRAIN, "SUCCESS"),
    "so does one with a long name in other letters": (Row("ветка/" + "x" * 180), TRAIN, "SUCCESS"),
    "a setting names the release branch": (Row("trunk", settings={"release_branch": "trunk"}), RELEASE, "SUCCESS"),
    "then main is another branch": (Row("main", settings={"release_branch": "trunk"}), TRAIN, "SUCCESS"),
    "a branch that passes for the release branch": (
        Row("feature/x", variables={"BRANCH_NAME": "main"}),
        REFUSED,
        "BRANCH_NAME",
    ),
    # DEPLOY.
    "auto is the default": (Row(params=given(DEPLOY="auto")), RELEASE, "SUCCESS"),
    "yes releases": (Row(params=given(DEPLOY="yes")), RELEASE, "SUCCESS"),
    "no does not": (Row(params=given(DEPLOY="no")), TRAIN, "SUCCESS"),
    "yes cannot be on another branch": (Row("feature/x", given(DEPLOY="yes")), REFUSED, "DEPLOY"),
    "no can": (Row("feature/x", given(DEPLOY="no")), TRAIN, "SUCCESS"),
    "yes cannot be in a pull request": (Row("PR-12", given(DEPLOY="yes")), PR_REFUSED, "DEPLOY"),
    "no can there": (Row("PR-12", given(DEPLOY="no")), CHECK, "SUCCESS"),
    "perhaps is no choice": (Row(params=given(DEPLOY="perhaps")), REFUSED, "DEPLOY"),
    # ROLLBACK.
    "a rollback trains nothing": (Row(params=given(ROLLBACK="3")), ROLLBACK, "SUCCESS"),
    "a rollback in a job of one branch": (Row(None, given(ROLLBACK="3")), ROLLBACK, "SUCCESS"),
    "no rollback from another branch": (Row("feature/x", given(ROLLBACK="3")), REFUSED, "ROLLBACK"),
    "no rollback from a pull request": (Row("PR-12", given(ROLLBACK="3")), PR_REFUSED, "ROLLBACK"),
    "releases are counted from 1": (Row(params=given(ROLLBACK="0")), REFUSED, "ROLLBACK"),
    "a rollback that fails": (Row(params=given(ROLLBACK="3"), fails="scripts.rollback"), ROLLBACK, "exit code 1"),
    "a rollback in a named environment": (
        Row(params=given(ROLLBACK="3", ENVIRONMENT="production"), settings=TWO),
        ROLLBACK,
        "SUCCESS",
    ),
    "one that there is not": (Row(params=given(ROLLBACK="3", ENVIRONMENT="x"), settings=TWO), REFUSED, "ENVIRONMENT"),
    "the first is not named": (
        Row(params=given(ROLLBACK="3", ENVIRONMENT="staging"), settings=TWO),
        REFUSED,
        "ENVIRONMENT",
    ),
    "an environment for nothing": (Row(params=given(ENVIRONMENT="production"), settings=TWO), REFUSED, "ENVIRONMENT"),
    "a rollback takes no settings": (Row(params=given(ROLLBACK="3", SETTINGS="seed=1")), REFUSED, "SETTINGS"),
    # PROMOTE.
    "approved and promoted": (Row(params=given(PROMOTE="production"), settings=TWO), APPROVED, "SUCCESS"),
    "promoted unasked": (Row(params=given(PROMOTE="production"), settings=PLAIN), PROMOTE, "SUCCESS"),
    "denied": (Row(params=given(PROMOTE="production"), settings=TWO, approves=None), APPROVED[:-1], "Rejected"),
    "refused by its command": (
        Row(params=given(PROMOTE="production"), settings=TWO, fails="--approved-by"),
        APPROVED,
        "exit code 1",
    ),
    "nobody is asked about nothing": (
        Row(params=given(PROMOTE="production"), settings=TWO, fails="--candidate"),
        APPROVED[:-2],
        "exit code 1",
    ),
    "nothing is promoted to the first": (Row(params=given(PROMOTE="staging"), settings=TWO), REFUSED, "PROMOTE"),
    "nor to none": (Row(params=given(PROMOTE="nowhere"), settings=TWO), REFUSED, "PROMOTE"),
    "nor where there is one place": (Row(params=given(PROMOTE="production")), REFUSED, "PROMOTE"),
    "nor from another branch": (Row("feature/x", given(PROMOTE="production"), TWO), REFUSED, "PROMOTE"),
    "nor from a pull request": (Row("PR-12", given(PROMOTE="production"), TWO), PR_REFUSED, "PROMOTE"),
    "one after the other": (Row(params=given(PROMOTE="production", ROLLBACK="1"), settings=TWO), REFUSED, "PROMOTE"),
    "a promotion trains nothing": (
        Row(params=given(PROMOTE="production", AS_OF="2013-07-01"), settings=TWO),
        REFUSED,
        "AS_OF",
    ),
    "a build releases to the first only": (Row(settings=TWO), RELEASE, "SUCCESS"),
    # Other parameters.
    "several workers search in a Job": (Row("feature/x", given(WORKERS="4")), SEARCH, "SUCCESS"),
    "and release": (Row(params=given(WORKERS="4")), (*SEARCH, *RELEASE[len(TRAIN) :]), "SUCCESS"),
    "one does not": (Row("feature/x", given(WORKERS="1")), TRAIN, "SUCCESS"),
    "ten are several": (Row("feature/x", given(WORKERS="10")), SEARCH, "SUCCESS"),
    "a pull request makes no Job": (Row("PR-12", given(WORKERS="4")), CHECK, "SUCCESS"),
    "a stage by force": (Row("feature/x", given(FORCE="train, test")), TRAIN, "SUCCESS"),
    "no stage": (Row("feature/x", given(FORCE="deploy")), REFUSED, "FORCE"),
    "a Job is not forced": (Row("feature/x", given(FORCE="tune", WORKERS="4")), REFUSED, "FORCE"),
    "a wrong day": (Row(params=given(AS_OF="yesterday")), REFUSED, "AS_OF"),
    "no trials": (Row(params=given(MAX_TRIALS="0")), REFUSED, "MAX_TRIALS"),
    "no workers": (Row(params=given(WORKERS="none")), REFUSED, "WORKERS"),
    "an unknown strategy": (Row(params=given(STRATEGY="luck")), REFUSED, "STRATEGY"),
    "an unknown setting": (Row(params=given(SETTINGS="seed=1\nsede=2")), REFUSED, "SETTINGS"),
    "who starts a build does not name the branch": (
        Row("feature/x", given(SETTINGS="release_branch=feature/x")),
        REFUSED,
        "SETTINGS: release_branch",
    ),
    "nor the place": (
        Row(params=given(SETTINGS="serving={context: production}")),
        REFUSED,
        "SETTINGS: serving.context",
    ),
    "nor who approves": (
        Row(params=given(SETTINGS="environments={a: {port: 1}}"), settings=TWO),
        REFUSED,
        "SETTINGS: environments",
    ),
    # Verdicts.
    "keep is green, and Deploy finds nothing to do": (Row(verdict="keep"), RELEASE, "SUCCESS"),
    "block is red and nothing is released": (Row(verdict="block"), TRAIN[:-1], "blocked"),
    "block on another branch": (Row("feature/x", verdict="block"), TRAIN[:-1], "blocked"),
    "block in a pull request": (Row("PR-12", verdict="block"), CHECK, "blocked"),
    # Stages that fail.
    "nothing goes on after Plan": (Row(fails="scripts.pipeline configure champion"), PLAN, "exit code 1"),
    "nor after Search": (Row(params=given(WORKERS="4"), fails="tune_job"), SEARCH[:5], "exit code 1"),
    "nor after Prepare": (Row(fails="scripts.pipeline prepare"), TRAIN[:9], "exit code 1"),
    "nor after the check of model/ beside it": (Row(fails="scripts.check"), TRAIN[:9], "exit code 1"),
    "nor after Tune": (Row(fails="scripts.pipeline tune"), TRAIN[:10], "exit code 1"),
    "nor after Train": (Row(fails="scripts.pipeline train"), TRAIN[:11], "exit code 1"),
    "nor after Package": (Row(fails="scripts.pipeline package"), TRAIN, "exit code 1"),
    "nor after Place": (Row(fails="scripts.place"), RELEASE[:-2], "exit code 1"),
    "nor after Deploy": (Row(fails="scripts.pipeline deploy"), RELEASE[:-1], "exit code 1"),
    "somebody is told of a pull request": (Row("PR-12", settings=TOLD), (*CHECK, "Notify"), "SUCCESS"),
    "of a blocked one, too": (Row("PR-12", settings=TOLD, verdict="block"), (*CHECK, "Notify"), "blocked"),
    "of a branch nobody is told": (Row("feature/x", settings=TOLD), TRAIN, "SUCCESS"),
    "a pull request that fails": (Row("PR-12", fails="prepare tune"), CHECK, "exit code 1"),
    # Pull requests: changed files, and a Plan that is not to be trusted.
    "a pull request is tested": (Row("PR-12"), CHECK, "SUCCESS"),
    "one to another branch too": (Row("PR-12", target="feature/x"), CHECK, "SUCCESS"),
    "one that changes pods": (
        Row("PR-12", changed=frozenset({"ci/agents/pull-request.yaml", "ci/agents/training.yaml"})),
        CHECK,
        "SUCCESS",
    ),
    "one that changes Plan's pod": (
        Row("PR-12", changed=frozenset({"ci/agents/tools.yaml"})),
        (),
        "modified in an untrusted revision",
    ),
    "one that changes commands": (
        Row("PR-12", changed=frozenset({"scripts/agent.py", "scripts/request.py", "dvc.yaml"})),
        CHECK,
        "SUCCESS",
    ),
    "whatever Plan says, a pull request is only tested": (Row("PR-12", says=EVERYTHING), (*CHECK, "Notify"), "SUCCESS"),
    "or not even that": (Row("PR-12", says="release rollback"), CHECK[:4], "SUCCESS"),
    "and a branch is not treated as one": (Row(says="check notify"), PLAN, "SUCCESS"),
}


def outcome(ran: Ran) -> tuple[tuple[str, ...], bool, tuple[str, ...]]:
    return tuple(ran.stages), ran.result == "SUCCESS", tuple(ran.said)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    """Every row of the table, as the Jenkinsfile has it."""
    builds = [(JENKINSFILE, row) for row, _, _ in TABLE.values()]
    return dict(zip(TABLE, run(builds, tmp_path_factory.mktemp("table")), strict=True))


@pytest.mark.parametrize("name", TABLE)
def test_a_build_runs_the_stages_that_it_should(done, name):
    row, stages, said = TABLE[name]
    ran = done[name]
    assert tuple(ran.stages) == stages, ran.said
    if said == "SUCCESS":
        assert ran.result == said, ran.said
    else:
        assert ran.result == ("ABORTED" if said == "Rejected" else "FAILURE")
        assert said in ran.log
    releases = (ran.changes_what_serves, row.branch in (None, row.settings.get("release_branch", "main")))
    assert releases != (True, False), "only the release branch changes what serves"


def test_a_pull_request_has_nothing_that_it_could_take_or_write_to(done):
    tested = {name: ran for name, ran in done.items() if TABLE[name][0].change}
    assert len(tested) > 10
    for name, ran in tested.items():
        for pod, namespace in ran.pods:
            assert (pod, namespace) in [
                ("ci/agents/tools.yaml", ""),  # as the target branch has it: Jenkins sees to that
                ("agent.json of the target branch", "model-pipeline-pull-requests"),
            ], name
        with_token = {code for code, command in ran.told if not command.startswith("git checkout ")}
        assert with_token <= {"the target branch"}, name
        for pod, code, command in ran.commands:
            if code == "the pull request" and not command.startswith("git checkout "):
                assert pod == "agent.json of the target branch", f"{name}: {command}"
        assert not [command for _, _, command in ran.commands if "push" in command or "deploy" in command], name
        assert not ran.locks, name
        for text in ("build/champion.json", "build/prior.json"):
            assert ran.texts.get(text, "").endswith("of the target branch") == ("Pull request" in ran.stages)


def test_a_newer_build_ends_the_one_before_in_pull_requests_only(done):
    for name, ran in done.items():
        wanted = [[{"disableConcurrentBuilds": {"abortPrevious": True}}]] if TABLE[name][0].change else []
        assert ran.properties == wanted, name


def test_locks_are_by_environment_whatever_the_job(done):
    assert done["the release branch trains and releases"].locks == ["deploy-first-environment"]
    assert done["a job of one branch does too"].locks == ["deploy-first-environment"]
    assert done["a rollback trains nothing"].locks == ["deploy-first-environment"]
    assert done["a rollback in a named environment"].locks == ["deploy-production"]
    assert done["approved and promoted"].locks == ["deploy-production"]
    assert done["denied"].locks == done["another branch only trains"].locks == []


def test_who_approves_is_asked_without_a_pod_and_told_to_the_command(done):
    ran = done["denied"]
    assert ran.asked == ["Promote candidate.txt of the branch to production?"]
    assert [pod for pod, _ in ran.pods] == ["ci/agents/tools.yaml"]


def test_the_list_of_builds_shows_version_metric_and_verdict(done):
    assert done["another branch only trains"].name == "#7 name.txt of the branch"
    assert done["block in a pull request"].name == "#7 name.txt of the pull request"


def commands(ran: Ran) -> list[str]:
    return list(dict.fromkeys(command for _, _, command in ran.commands))


KINDS = {
    "release": Row(params=given(WORKERS="4")),
    "pull request": Row("PR-12", settings=TOLD),
    "promotion": Row(params=given(PROMOTE="production"), settings=TWO),
    "rollback": Row(params=given(ROLLBACK="3")),
}
"""A build that goes through all stages of its kind."""


def test_a_build_that_is_stopped_at_any_command_leaves_no_pod_and_no_lock_and_begins_nothing_more(tmp_path):
    plain = list(run([(JENKINSFILE, row) for row in KINDS.values()], tmp_path))
    stopped = [
        replace(row, stops=line) for row, ran in zip(KINDS.values(), plain, strict=True) for line in commands(ran)
    ]
    assert len(stopped) > 40
    beside = ["python -m scripts.check"]  # it runs at the same time
    for row, ran in zip(stopped, run([(JENKINSFILE, row) for row in stopped], tmp_path), strict=True):
        post = "report" in row.stops  # the stage had ended; the build goes on to its end as it was
        assert ran.result == "ABORTED", row
        assert ran.held == [], row
        after = commands(ran)[commands(ran).index(row.stops) + 1 :]
        assert post or all("report" in line or line in beside for line in after), (row.stops, after)


def test_a_pod_that_is_lost_at_any_command_is_replaced_before_the_release_and_never_in_it(tmp_path):
    plain = list(run([(JENKINSFILE, row) for row in KINDS.values()], tmp_path))
    lost = [
        (replace(row, loses=line), len(ran.pods))
        for row, ran in zip(KINDS.values(), plain, strict=True)
        for line in commands(ran)
    ]
    releases = ("place", "deploy", "monitor", "--approved-by", "rollback", "--record")
    for (row, pods), ran in zip(lost, run([(JENKINSFILE, row) for row, _ in lost], tmp_path), strict=True):
        assert ran.held == [], row
        first = next(pod for pod, _, line in ran.commands if line == row.loses)
        if "release" in first or any(word in row.loses for word in releases):
            # Rebuilt by hand: a milestone is passed once. What serves is put right by the next deployment.
            assert (ran.result, len(ran.pods) <= pods) == ("ABORTED", True), row
        else:
            assert (ran.result, len(ran.pods)) == ("SUCCESS", pods + 1), row


WHEN = re.compile(r"^( +)when \{\n(.*?)^\1\}\n", re.MULTILINE | re.DOTALL)


def mutants() -> Iterator[tuple[str, str]]:
    """Yield what was done to one condition of a `when` (left out, turned round, shortened), with the Jenkinsfile."""
    text = JENKINSFILE.read_text(encoding="utf-8")
    for block in WHEN.finditer(text):
        stage = re.findall(r"stage\('([\w ]+)'\)", text[: block.start()])[-1]
        for line in re.finditer(r"^ +(not|changeRequest|expression)\b.*\n", block[2], re.MULTILINE):
            condition = line[0].strip()
            if condition.startswith("expression"):
                inner = condition[len("expression { ") : -len(" }")]
                turned = f"expression {{ !({inner}) }}"
                operands = re.split(r" (?:&&|\|\|) ", inner)
                others = [f"expression {{ {each} }}" for each in operands if len(operands) > 1]
            else:
                turned = "changeRequest()" if condition.startswith("not") else "not { changeRequest() }"
                others = []
            for new in ("", turned, *others):
                begin = block.start(2) + line.start()
                changed = line[0].replace(condition, new)
                yield (
                    f"{stage}: {condition} -> {new or 'nothing'}",
                    text[:begin] + changed + text[begin + len(line[0]) :],
                )


def test_every_condition_matters_to_a_row(done, tmp_path):
    files = {}
    for number, (said, text) in enumerate(mutants()):
        files[said] = tmp_path / f"Jenkinsfile-{number}"
        files[said].write_text(text, encoding="utf-8")
    assert len(files) >= 35
    # One row of each outcome notices almost all of them, and the whole table is for the others.
    some = list({(TABLE[name][0].change, tuple(ran.stages)): name for name, ran in done.items()}.values())
    for names in (some, list(TABLE)):
        ran = run([(file, TABLE[name][0]) for file in files.values() for name in names], tmp_path)
        noticed = {said: [name for name in names if outcome(next(ran)) != outcome(done[name])] for said in files}
        files = {said: file for said, file in files.items() if not noticed[said]}
    assert not files
