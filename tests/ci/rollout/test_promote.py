"""Promotion on this machine: two environments with their own ports, ledgers and locks, by the commands people run."""

import json
from datetime import date
from pathlib import Path

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci import configuration, workspace
from ci.releases import machine
from ci.releases.machine import MachineLedger
from ci.settings import Settings
from ci.settings.building import Model
from ci.settings.jenkins import Environment
from scripts import champion, deploy, promote, prune, rollback, serve, status, stop
from tests.ci import apiservers
from tests.ci.rollout import journals
from tests.ci.rollout.checkouts import INSTANCES, Checkout, free_port

STAGING, PRODUCTION = MachineLedger("staging"), MachineLedger("production")
ADA = ["--to", "production", "--approved-by", "ada"]


@pytest.fixture
def both(checkout: Checkout) -> Checkout:
    """A folder with two environments, the second of which ada and grace may approve for."""
    checkout.environments = {
        "staging": Environment(port=checkout.port),
        "production": Environment(port=free_port(), approval=True, approvers=["ada", "grace"]),
    }
    return checkout


def answer(checkout: Checkout, environment: str) -> float:
    """Return what an environment answers, less what the model with bias 0 would."""
    url = f"http://127.0.0.1:{checkout.environments[environment].port}/v1/models/demo:predict"
    found = requests.post(url, data=json.dumps({"instances": INSTANCES[:1]}), timeout=10).json()["predictions"][0]
    return round(float(found) - 5.1, 4)


@pytest.mark.slow
def test_the_very_image_that_staging_verified_goes_to_production(
    both: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    both.build(0.5)
    assert promote.main(ADA) == 1
    assert "nothing was released in staging yet" in capsys.readouterr().err
    assert deploy.main([]) == 0
    assert "serves on staging (port" in capsys.readouterr().out
    assert PRODUCTION.read() == []

    for arguments, why in {
        (): "production needs an approval",
        ("--approved-by", "mallory"): "mallory may not approve for production: ada, grace may",
        ("--approved-by", "ada", "--digest", f"sha256:{'0' * 64}"): "was never verified in staging",
    }.items():
        assert promote.main(["--to", "production", *arguments]) == 1
        assert why in capsys.readouterr().err
        assert why in (workspace.ROLLOUT / "junit.xml").read_text()
    assert promote.main([*ADA, "--dry-run"]) == 0
    assert "would deploy version" in capsys.readouterr().out
    assert PRODUCTION.read() == []

    [verified] = STAGING.read()
    assert promote.main(ADA) == 0
    assert "serves on production (port" in capsys.readouterr().out
    [promoted] = PRODUCTION.read()
    assert promoted["digest"] == verified["digest"]
    assert (promoted["approved_by"], promoted["promoted_from"]) == ("ada", {"environment": "staging", "release": 1})
    assert (answer(both, "staging"), answer(both, "production")) == (0.5, 0.5)
    assert promote.main(ADA) == 0
    assert "nothing to do: this image is already serving" in capsys.readouterr().out

    both.build(0.75, as_of="2013-05-01")  # compared with what production serves
    assert json.loads(workspace.CHAMPION.read_text())["digest"] == promoted["digest"]
    assert deploy.main([]) == 0
    both.build(0.25, as_of="2013-06-01")  # likewise: staging's are for its rollback only
    assert json.loads(workspace.CHAMPION.read_text())["digest"] == promoted["digest"]
    assert deploy.main([]) == 0
    assert (answer(both, "staging"), answer(both, "production")) == (0.25, 0.5)
    capsys.readouterr()
    assert rollback.main(["--environment", ""]) == 2
    assert "name where a release is to come back: staging, production" in capsys.readouterr().err
    assert rollback.main(["--environment", "staging"]) == 0
    last = STAGING.read()[2]["digest"]
    assert promote.main([*ADA, "--digest", last]) == 1
    assert "release 3 of staging was rolled back there" in capsys.readouterr().err
    assert promote.main(["--to", "production", "--approved-by", "grace"]) == 0  # what staging went back to
    assert (answer(both, "staging"), answer(both, "production")) == (0.75, 0.75)
    assert promote.main([*ADA, "--digest", verified["digest"]]) == 1
    assert "`python -m scripts.rollback --environment production --to 1` brings it back" in capsys.readouterr().err

    assert rollback.main(["--environment", "production"]) == 0
    assert (answer(both, "staging"), answer(both, "production")) == (0.75, 0.5)
    assert "approved_by" not in PRODUCTION.read()[-1]
    capsys.readouterr()
    assert status.main([]) == 0
    said = capsys.readouterr().out
    assert "status: staging (port" in said
    assert "from release 4 of staging, approved by grace" in said
    gone, _ = prune.images(configuration.effective(), dry_run=True)
    needed = {each["digest"].removeprefix("sha256:") for each in (*STAGING.read(), *PRODUCTION.read())}
    assert not [path for path in gone if path.stem in needed]
    assert stop.main([]) == 0
    assert serve.main(["--environment", "production"]) == 0
    assert answer(both, "production") == 0.5


@pytest.mark.slow
def test_what_fails_in_production_leaves_what_served_there(both: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    both.build(0.5)
    assert deploy.main([]) == 0
    with machine.alone(PRODUCTION.folder):
        assert deploy.main([]) == 0  # another environment, another lock
        assert promote.main(ADA) == 1
    assert "another deploy, serve or stop is under way here" in capsys.readouterr().err
    assert promote.main(ADA) == 0
    both.build(0.75, as_of="2013-05-01")
    assert deploy.main([]) == 0
    last = STAGING.read()[-1]
    golden = STAGING.evidence(last["digest"]) / "golden.json"
    told = json.loads(golden.read_text())
    golden.write_text(json.dumps({**told, "predictions": [number + 1 for number in told["predictions"]]}))
    assert promote.main(ADA) == 1
    assert "golden prediction 0" in capsys.readouterr().err
    assert (answer(both, "staging"), answer(both, "production")) == (0.75, 0.5)
    assert len(PRODUCTION.read()) == 1


def test_a_candidate_is_what_was_verified_last_and_nothing_is_promoted(
    both: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    both.configure()
    ask = ["--to", "production", "--candidate"]
    assert promote.main(ask) == 1
    assert "nothing was released in staging yet" in capsys.readouterr().err
    assert not workspace.CANDIDATE.exists()
    first, second = (STAGING.add(journals.release(letter)) for letter in "ab")
    assert promote.main(ask) == 0
    assert f"promote: version {second['version']}, {second['digest']}, for production" in capsys.readouterr().out
    assert workspace.CANDIDATE.read_text() == f"{second['digest']}\n"
    assert promote.main([*ask, "--digest", first["digest"]]) == 0
    assert workspace.CANDIDATE.read_text() == f"{first['digest']}\n"
    STAGING.add({**journals.release("a"), "instead_of": 2})
    assert promote.main([*ask, "--digest", second["digest"]]) == 1
    assert "release 2 of staging was rolled back there" in capsys.readouterr().err
    assert PRODUCTION.read() == []
    assert not workspace.ROLLOUT.exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--candidate", "--to", "prod"], "there is no environment 'prod'"),
        (["--candidate", "--to", "production", "--digest", "x"], "--digest: 'x' is none"),
        (["--to", "staging"], "builds release to staging; what can be promoted to: production"),
        (["--to", "prod"], "there is no environment 'prod'"),
        (["--to", ""], "there is no environment ''"),
        (["--to", "production", "--digest", "sha256:1"], "--digest: 'sha256:1' is none"),
        (["--to", "production", "--approved-by", "a\nb"], "--approved-by: 'a\\nb'"),
        (["--to", "production", "--approved-by", "x" * 101], "up to 100 printable characters"),
    ],
)
def test_bad_input_is_refused_by_name(
    both: Checkout, capsys: pytest.CaptureFixture[str], arguments: list[str], why: str
) -> None:
    both.configure()
    assert promote.main(arguments) == 2
    assert why in capsys.readouterr().err
    assert not Path("build/state").exists()


HOSTILE = st.text(max_size=200) | st.sampled_from(
    [
        "$(touch pwned)",
        "`touch pwned`",
        "production; touch pwned",
        "${HOME}",
        "$$",
        "../production",
        "a\\x00b",
        "x" * 5000,
    ]
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(to=HOSTILE, digest=HOSTILE, name=HOSTILE)
def test_whatever_is_typed_is_refused_by_name_and_changes_nothing(
    both: Checkout, capsys: pytest.CaptureFixture[str], to: str, digest: str, name: str
) -> None:
    if not workspace.SETTINGS.exists():
        both.configure()
    before = {*map(str, Path().rglob("*"))}
    for option, value in (("to", to), ("digest", digest), ("approved-by", name), ("environment", to)):
        if option == "environment":
            code = status.main([f"--environment={value}"])
            expected = {1} if value in ("", "staging", "production") else {2}
        else:
            wanted = [] if option == "to" else ["--to=production"]
            code = promote.main([*wanted, f"--{option}={value}"])
            expected = {2} if option == "to" else {1, 2}  # 1: it is well formed, and nothing is in staging
        said = capsys.readouterr()
        assert code in expected
        assert "Traceback" not in said.err
        assert code == 1 or f"--{option}: " in said.err
    new = {each for each in {*map(str, Path().rglob("*"))} - before if Path(each).is_file()}
    assert new <= {"build/rollout/junit.xml", "build/state/serving-production/lock", "build/state/serving-staging/lock"}


def test_one_environment_is_as_simple_as_ever(checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    checkout.configure()
    assert "environments" not in workspace.SETTINGS.read_text()
    assert promote.main(["--to", "production"]) == 2
    assert "pipeline.yaml names no `environments`" in capsys.readouterr().err
    assert status.main(["--environment", "staging"]) == 2
    assert "--environment: there is no environment 'staging': there is only one" in capsys.readouterr().err
    assert champion.main([]) == 0
    assert not list(Path("build/state").glob("serving-*"))


KUBECTL = """#!/bin/sh
echo "{kind: Service, apiVersion: v1, metadata: {name: model, namespace: model-serving}}"
"""


def two_places(monkeypatch: pytest.MonkeyPatch, config: dict, environments: dict[str, Environment]) -> None:
    """Leave two environments in the current folder: a kubeconfig, overlays that render to one namespace, settings."""
    here = Path.cwd()
    workspace.write_text(here / "kubeconfig", json.dumps(config))
    workspace.write_text(here / "bin/kubectl", KUBECTL)
    (here / "bin/kubectl").chmod(0o755)
    monkeypatch.setenv("KUBECONFIG", str(here / "kubeconfig"))
    monkeypatch.setenv("PATH", f"{here / 'bin'}:/usr/bin:/bin")
    for overlay in {each.overlay for each in environments.values()}:
        workspace.write_text(here / "k8s/overlays" / overlay / "server/kustomization.yaml", "")
    made = Settings(schema_version=1, as_of=date(2013, 4, 1), model=Model(name="demo"), environments=environments)
    workspace.write_text(workspace.SETTINGS, configuration.dump(made))


def test_two_overlays_of_one_namespace_are_one_place(tmp_path, monkeypatch, capsys):
    """Else what builds release to the first would serve in the second, which nobody has approved."""
    monkeypatch.chdir(tmp_path)
    config = {"clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{free_port()}"}}],
              "contexts": [{"name": "here", "context": {"cluster": "c"}}], "current-context": "here"}  # fmt: skip
    environments = {
        "first": Environment(context="-", overlay="kind"),
        "last": Environment(context="here", overlay="production"),
    }
    two_places(monkeypatch, config, environments)
    for name in environments:
        assert rollback.main(["--environment", name]) == 2
        said = capsys.readouterr().err
        assert "first and last are the same place" in said or "last and first are the same place" in said
        assert "both have namespace model-serving" in said


@pytest.mark.parametrize("same", [True, False])
def test_two_contexts_that_lead_to_one_cluster_are_one_place(tmp_path, monkeypatch, capsys, same):
    """What a cluster is, its API server says, and not the name that somebody has given it."""
    monkeypatch.chdir(tmp_path)
    with apiservers.serving() as (_, one, _), apiservers.serving() as (_, two, _):
        for uid, each in (("one", one), ("two", two)):
            record = {"metadata": {"name": "rollout-history", "uid": uid}}
            each.ask("POST", "/api/v1/namespaces/model-serving/configmaps", record)
        first, second = (each.client.configuration.host for each in (one, two))
        other = first.replace("127.0.0.1", "localhost") if same else second
        named = (("a", first), ("b", other))
        config = {"clusters": [{"name": name, "cluster": {"server": server}} for name, server in named],
                  "contexts": [{"name": name, "context": {"cluster": name}} for name in "ab"],
                  "current-context": "a"}  # fmt: skip
        environments = {
            "first": Environment(context="a", overlay="kind"),
            "last": Environment(context="b", overlay="kind"),
        }
        two_places(monkeypatch, config, environments)
        for name in environments:
            code = rollback.main(["--environment", name])
            said = capsys.readouterr().err
            if same:
                assert code == 2
                assert "the contexts a and b lead to one cluster" in said or "the contexts b and a lead to" in said
                assert "both have namespace model-serving" in said
            else:
                assert (code, said) == (1, "failed: nothing was released yet, so there is nothing to go back to\n")
