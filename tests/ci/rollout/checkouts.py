"""A repository's folder with one packaged build at a time, for deployments on this machine."""

import json
import shutil
import socket
from datetime import date
from pathlib import Path

import pytest
import requests

from ci import configuration, saved_model, workspace
from ci.releases import machine
from ci.releases.machine import MachineLedger
from ci.rollout.decision import Phase
from ci.rollout.local import servers as local
from ci.settings import Settings
from ci.settings.building import Model
from ci.settings.cluster import Rollout, Serving
from ci.settings.jenkins import Environment
from scripts import champion, package
from tests import builds

LEDGER = MachineLedger()

INSTANCES = [{"x": 1.0, "carrier": "AA", "hour": 3}, {"x": float("nan"), "carrier": "B6", "hour": 23}]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Checkout:
    """A repository's folder with one packaged build at a time."""

    def __init__(self, models: dict[float, Path]):
        self.models = models
        self.port = free_port()
        self.environments: dict[str, Environment] = {}
        Path("code.py").write_text("")
        Path("requirements.txt").write_text("numpy\n")
        graph = {"cmd": "x", "deps": ["code.py"], "params": [{"build/settings.yaml": ["as_of"]}]}
        Path("dvc.yaml").write_text(json.dumps({"stages": {"train": graph}}))

    def configure(self, as_of: str = "2013-04-01") -> None:
        settings = Settings(
            schema_version=1,
            as_of=date.fromisoformat(as_of),
            model=Model(name="demo"),
            serving=Serving(port=self.port),
            rollout=Rollout(startup_timeout=120.0, drain_timeout=10.0),
            environments=self.environments,
        )
        workspace.write_text(workspace.SETTINGS, configuration.dump(settings))

    def build(self, bias: float, verdict: str = "promote", off: float = 0.0, as_of: str = "2013-04-01") -> None:
        """Do what the stages up to package do; `off` makes the golden predictions wrong."""
        self.configure(as_of)
        assert champion.main([]) == 0
        shutil.rmtree(workspace.MODEL, ignore_errors=True)
        shutil.copytree(self.models[bias], workspace.MODEL / "saved_model")
        found = saved_model.signature(workspace.MODEL / "saved_model")
        workspace.write_json(workspace.MODEL / "signature.json", found)
        predictions = [0.1 + bias + 3 + 2 + off, bias + 23 + 2]
        builds.write("data/summary.json", builds.summary(as_of=as_of))
        workspace.write_json(workspace.EVALUATION / "golden.json", {"instances": INSTANCES, "predictions": predictions})
        workspace.write_json(workspace.EVALUATION / "reference.json", {})
        builds.write("evaluation/evaluation.json", builds.evaluation(verdict=verdict, reason="a test"))
        assert package.main([]) == 0

    def predict(self) -> float:
        url = f"http://127.0.0.1:{self.port}/v1/models/demo:predict"
        answer = requests.post(url, data=json.dumps({"instances": INSTANCES[:1]}), timeout=10)
        return float(answer.json()["predictions"][0])

    def phases(self) -> dict[str, Phase]:
        return local.Local(self.port, 10.0, LEDGER).phases()

    def serves(self, bias: float, release: int) -> None:
        """Assert that one server runs, that it is the last release, and that it predicts as it should."""
        last = LEDGER.last()
        assert last is not None
        assert last["release"] == release
        assert self.phases() == {last["digest"]: Phase.SERVING}
        assert not (machine.FOLDER / "unverified").exists()
        assert self.predict() == pytest.approx(5.1 + bias, abs=1e-5)
