"""A model to package, in a folder of its own."""

import hashlib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ci import workspace
from ci.packaging import card, package
from ci.settings.building import Packaging

DIGESTS = {name: f"sha256:{hashlib.sha256(name.encode()).hexdigest()}" for name in ("data", "settings", "code")}
SIGNATURE = {"inputs": {"x": "DT_FLOAT"}, "outputs": {"late": {}}}

Assemble = Callable[..., dict[str, Any]]


@pytest.fixture
def assemble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Assemble:
    """Return a function that packages a model with some packaging settings and returns the manifest."""
    monkeypatch.chdir(tmp_path)
    model = workspace.MODEL / "saved_model"
    (model / "variables").mkdir(parents=True)
    (model / "assets").mkdir()
    (model / "saved_model.pb").write_bytes(b"graph")
    (model / "variables" / "variables.index").write_bytes(b"index")
    monkeypatch.setattr(card, "render", lambda *_: "a card")
    workspace.write_text(workspace.CARD, "words")
    workspace.write_json(workspace.EVALUATION / "golden.json", {"instances": [{"x": 1.0}], "predictions": [0.5]})
    workspace.write_json(workspace.EVALUATION / "reference.json", {})
    workspace.write_json(workspace.EVALUATION / "evaluation.json", {"verdict": "promote"})
    Path("requirements.txt").write_text("numpy==2.4.6\n    # via tensorflow\n")

    def assemble(base: Any = None, **settings: str) -> dict[str, Any]:
        with workspace.replacing(workspace.PACKAGE) as folder:
            arguments = ("demo", Packaging(**settings), date(2013, 4, 1), DIGESTS, SIGNATURE, base)
            return package.assemble(folder, *arguments)

    return assemble
