"""The champion's shadow, as the monitor and status tell of it."""

import json
from pathlib import Path

from ci import configuration
from ci.monitoring import memory
from ci.releases.machine import MachineLedger
from scripts import configure, monitor, status
from tests import builds
from tests.scripts.test_captured_log import served

assert served  # the fixture


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
