"""What the stages that compute say on stderr."""

import os
import re
import subprocess
import sys

from tests.pods import REPOSITORY

DOCKERFILE = REPOSITORY / "ci/images/pipeline/Dockerfile"
STARTS = "import ci.training.inputs, tensorflow; tensorflow.config.list_physical_devices()"


def test_in_the_image_of_builds_a_machine_without_a_gpu_is_no_error() -> None:
    set_there = dict(re.findall(r"([A-Z_0-9]+)=(\S+)", " ".join(re.findall(r"(?m)^ENV (.+)", DOCKERFILE.read_text()))))
    ours = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    done = subprocess.run(
        [sys.executable, "-c", STARTS], cwd=REPOSITORY, env=ours | set_there, capture_output=True, text=True, check=True
    )
    assert set_there["PYTHONUNBUFFERED"] == "1"
    assert done.stderr == ""
