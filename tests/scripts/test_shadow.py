"""The champion's shadow, as the monitor and status tell of it."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from ci import configuration
from ci.monitoring import memory
from ci.releases.machine import MachineLedger
from scripts import configure, labels, monitor, status
from tests import builds, pods
from tests.scripts.test_captured_log import served

assert served  # the fixture


@pytest.fixture(autouse=True)
def no_pod(monkeypatch):
    """These tests may run in a pod, as a build's do."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


def told():
    checks = json.loads(Path("build/monitoring/monitoring.json").read_text())["checks"]
    return [check["sentence"] for check in checks if check["kind"] == "shadow"]


def test_a_shadow_is_told_while_its_champion_serves_and_goes_with_it(served, capsys):
    assert configure.main(["--set", "rollout.shadow=true"]) == 0
    file = memory.shadow(configuration.effective().history)
    file.write({"digest": builds.IMAGE, "version": "7", "as_of": "2024-02-19", "champion": served["digest"]})
    assert monitor.main([]) == 0, capsys.readouterr().err
    assert told() == ["the shadow waits for labels"]
    status.main([])
    assert "status: version 7 is the champion's shadow: it waits for labels" in capsys.readouterr().out
    other = builds.release(model="tiny", as_of="2024-02-20", digest=builds.IMAGE)
    evidence = MachineLedger().evidence(served["digest"])
    MachineLedger().add(other)
    MachineLedger().evidence(other["digest"]).mkdir(parents=True, exist_ok=True)
    known = (evidence / "reference.json").read_text()
    (MachineLedger().evidence(other["digest"]) / "reference.json").write_text(known)
    assert monitor.main([]) == 0, capsys.readouterr().err
    assert "version 7 is no shadow any more: another release serves" in capsys.readouterr().out
    assert told() == []
    assert not file.path.parent.exists()


def save(folder):
    """Write a model that says x, between 0 and 1."""
    import tensorflow as tf

    kinds = {"x": tf.float32, "k": tf.int64, "c": tf.string}

    @tf.function(input_signature=[tf.TensorSpec([None], kind, name=name) for name, kind in kinds.items()])
    def predict(x, k, c):
        return {"y": tf.sigmoid(x + 0.0 * tf.cast(k + tf.cast(tf.strings.length(c), tf.int64), tf.float32))}

    model = tf.Module()
    model.predict = predict
    tf.saved_model.save(model, str(folder), signatures={"serving_default": model.predict})


def test_without_tensorflow_the_monitor_says_who_compares_it_and_then_tells_what_came_of_it(
    served, monkeypatch, capsys
):
    """A build's pod has TensorFlow and the CronJob's has not: what is remembered is on a volume of both."""
    assert configure.main(["--set=rollout.shadow=true", "--set=gates.primary=auc"]) == 0
    file = memory.shadow(configuration.effective().history)
    file.write({"digest": builds.IMAGE, "version": "7", "as_of": "2024-02-19", "champion": served["digest"]})
    save(file.path.parent / "model")
    assert monitor.main([]) == 0, capsys.readouterr().err
    Path("inbox").mkdir()
    rows = [f"day-{day}/{n},{(n + day) % 2},2024-03-01T18:00:00Z" for day in range(11) for n in range(4)]
    Path("inbox/one.csv").write_text("\n".join(["request_id,y,known_at", *rows]) + "\n")
    assert labels.main([]) == 0, capsys.readouterr().err

    def look(*, tensorflow):
        with monkeypatch.context() as patch:
            if not tensorflow:
                patch.setitem(sys.modules, "tensorflow", None)
            assert monitor.main(["--captured"]) == 0, capsys.readouterr().err
        said = capsys.readouterr().out
        assert f"  ok: {told()[0]} (" in said
        return told()[0]

    assert look(tensorflow=False).startswith("the shadow waits for a monitor with TensorFlow, which is not here: it is")
    found = look(tensorflow=True)
    assert "auc on 44 requests of 11 mature days" in found
    assert look(tensorflow=False) == found
    assert file.read().looks == 1


def test_a_shadow_that_would_end_with_the_pod_is_refused(served, monkeypatch, capsys):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    assert configure.main(["--set=rollout.shadow=true"]) == 2
    said = capsys.readouterr().err
    assert "pipeline.yaml: history.folder: build/state/history ends with this pod, and so would the shadow" in said
    assert configure.main(["--set=rollout.shadow=true", "--set=history.folder=/var/lib/dvc-remote/history"]) == 0
    assert configure.main([]) == 0


def test_the_pod_of_release_has_tensorflow_and_the_volume_on_which_the_cronjob_remembers():
    """There a challenger becomes the shadow, and is compared."""
    pod = yaml.safe_load((pods.REPOSITORY / "ci/agents/release.yaml").read_text())["spec"]
    [container] = [each for each in pod["containers"] if each["name"] == "tools"]
    assert container["image"] == pods.images()["pipeline"]
    map_ = yaml.safe_load((pods.REPOSITORY / "k8s/components/monitoring/settings.yaml").read_text())
    folder = dict(line.split("=", 1) for line in map_["data"]["PIPELINE_SET"].split())["history.folder"]
    assert str(Path(folder).parent) in [each["mountPath"] for each in container["volumeMounts"]]
