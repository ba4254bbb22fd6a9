"""The image as other programs see it: copied by skopeo, unpacked by umoci, and predicting as it was evaluated."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import requests

from ci import workspace
from ci.registry import layout as image
from ci.serving.control import Remote
from tests.ci.packaging.conftest import Assemble
from tests.pods import REPOSITORY
from tests.programs import needed

INSTANCES = [{"x": 1.0, "carrier": "AA", "hour": 3}, {"x": -2.5, "carrier": "B6", "hour": 23}]
DEBIAN = "apt-get install skopeo umoci"


def evaluated(saved_model: Path) -> list[np.float32]:
    """Return the predictions of a model in the workspace, as the evaluation leaves them."""
    import tensorflow as tf

    predict = tf.saved_model.load(str(saved_model)).signatures["serving_default"]
    columns = {name: tf.constant([row[name] for row in INSTANCES]) for name in ("x", "carrier")}
    hours = tf.constant([row["hour"] for row in INSTANCES], tf.int64)
    return list(predict(**columns, hour=hours)["late"].numpy())


def served(models: Path) -> list[float]:
    """Return what the stand-in server, started on a folder of versions, predicts."""
    control = Path("control.sock")
    command = [sys.executable, "-m", "ci.serving.standin", "--rest_api_port=0", "--model_name=demo"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen([*command, f"--model_base_path={models}", f"--control={control}"], env=environment)
    try:
        deadline = time.monotonic() + 120
        while not control.exists() or Remote(control).ask("status")["state"] != "AVAILABLE":
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        port = Remote(control).ask("status")["private_port"]
        url = f"http://127.0.0.1:{port}/v1/models/demo:predict"
        answer = requests.post(url, data=json.dumps({"instances": INSTANCES}), timeout=30)
        predictions: list[float] = answer.json()["predictions"]
        return predictions
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
@pytest.mark.parametrize("on_base", [False, True])
def test_an_image_that_skopeo_and_umoci_have_handled_predicts_as_it_was_evaluated(
    assemble: Assemble, plain_model: Path, tmp_path: Path, on_base: bool
) -> None:
    skopeo, umoci = needed("skopeo", DEBIAN), needed("umoci", DEBIAN)
    saved_model = workspace.MODEL / "saved_model"
    shutil.rmtree(saved_model)
    shutil.copytree(plain_model, saved_model)
    base = None
    if on_base:
        (tmp_path / "server").write_text("server")
        digest = image.build(tmp_path / "base", {"usr/bin/server": tmp_path / "server"}, {})
        base = image.Base(tmp_path / "base", digest, "base", pinned=True)
    manifest = assemble(base)
    reference, digest = manifest["image"]["reference"], manifest["image"]["digest"]
    source = f"oci:{workspace.PACKAGE / 'image'}:{reference}"

    seen = json.loads(subprocess.run([skopeo, "inspect", source], capture_output=True, check=True).stdout)
    assert seen["Digest"] == digest
    assert seen["Labels"]["org.opencontainers.image.version"] == manifest["version"]
    for step in ([source, "docker-archive:image.tar:demo:1"], ["docker-archive:image.tar", "oci:again:demo"]):
        subprocess.run([skopeo, "--insecure-policy", "copy", "--quiet", *step], check=True)
    subprocess.run([umoci, "unpack", "--rootless", "--image", "again:demo", "bundle"], check=True)
    root = Path("bundle/rootfs")
    assert (root / "usr/bin/server").exists() == on_base

    answer = served(root / "models" / "demo")
    assert [np.float32(value) for value in answer] == evaluated(saved_model), "JSON shortens float32"
