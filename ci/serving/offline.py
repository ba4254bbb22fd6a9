"""Answer predict requests from a SavedModel on disk, without a server: the answers that every server must give.

`python -m ci.serving.offline FOLDER REQUESTS ANSWERS` is a process of its own, for two reasons. While TensorFlow is
imported, it holds Python's lock for seconds, and the caller could not renew its Lease. And if a model's code fails or
memory runs out, the caller goes on.
"""

import json
import sys
from pathlib import Path

from typing_extensions import TypedDict

from ci import workspace
from ci.serving import responses, tensors
from ci.serving.model import Version


class Answer(TypedDict):
    """The answer to one request: the response's text, or the reason for refusing it; the other one is None."""

    response: str | None
    error: str | None


def answer(version: Version, request: str) -> Answer:
    """Return what a loaded version says to the body of a predict request."""
    try:
        parsed = tensors.parse(request.encode())
        name = parsed.signature or "serving_default"
        outputs = version.run(name, tensors.arrays(parsed, version.inputs(name)))
        return {"response": responses.answer(parsed, outputs).decode(errors="replace"), "error": None}
    except tensors.Refused as error:
        return {"response": None, "error": str(error)}


def main(argv: list[str]) -> int:
    """Read requests, a JSON list of texts, and write as many answers."""
    folder, requests, answers = map(Path, argv)
    version = Version(model="", number=0)
    version.load(folder)
    if version.state != "AVAILABLE":
        print(f"it cannot be loaded: {version.error}", file=sys.stderr)
        return 1
    workspace.write_json(answers, [answer(version, request) for request in json.loads(requests.read_bytes())])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
