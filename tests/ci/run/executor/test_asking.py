"""How a model that a cluster serves is asked from this machine, once it answers as it was tested."""

import json
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ci import configuration, workspace
from ci.errors import StageError
from ci.kube.api import ApiServer
from ci.releases.cluster import NAME, ClusterLedger
from ci.run import kind
from ci.run.executor import asking
from scripts import serve
from tests.ci import apiservers
from tests.ci.rollout import journals
from tests.ci.run.machines import Machine, nodes
from tests.ci.run.test_kind import port

CONFIGMAPS = f"/api/v1/namespaces/{asking.NAMESPACE}/configmaps"


@contextmanager
def model(answer: Any) -> Iterator[str]:
    """A server that gives one answer to all that ask; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"predictions": [answer]}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def api(tmp_path, monkeypatch) -> Iterator[ApiServer]:
    """An API server that has no release yet."""
    monkeypatch.chdir(tmp_path)  # evidence is kept below it
    with apiservers.serving() as (_, found, _):
        found.ask("POST", CONFIGMAPS, {"metadata": {"name": NAME}})
        yield found


def released(api: ApiServer, prediction: Any) -> None:
    """Record a release that answered with this prediction when it was tested."""
    image = {"reference": "registry.example/light:a", "base": "a server", "digest": f"sha256:{'a' * 64}"}
    manifest = {"model": "light", "version": "1", "as_of": "2013-04-01", "image": image, "digests": {}}
    manifest["signature"] = {"inputs": {"x": "DT_FLOAT"}, "outputs": {"y": {"kind": "number"}}}
    golden = {"instances": [{"x": 1.0}], "predictions": [prediction]}
    ledger = ClusterLedger(api, asking.NAMESPACE)
    ledger.keep(image["digest"], {"manifest.json": json.dumps(manifest), "golden.json": json.dumps(golden)})
    ledger.add(journals.release("a"))


@pytest.mark.parametrize(
    ("tested", "answer"),
    [
        (2.5, 2.5000001),
        ([0.1, 0.9], [0.1, 0.9]),
        ({"price": 3.0, "kind": [0.5, 0.5]}, {"kind": [0.5, 0.5], "price": 3}),
    ],
    ids=["a number", "classes", "several outputs"],
)
def test_what_answers_as_it_was_tested_is_asked_by_a_command(api, tested, answer):
    released(api, tested)
    with model(answer) as url:
        said = asking.working(api, url, 1e-5)
    assert said.startswith(f"version 20130401 (release 1) answers {json.dumps(answer)}, as it did when it was tested")
    assert shlex.split(said.splitlines()[-1]) == [
        *("curl", "-d", '{"instances": [{"x": 1.0}]}', f"{url}/v1/models/light:predict")
    ]


@pytest.mark.parametrize(
    ("tested", "answer"),
    [(2.5, 2.6), (2.5, None), (2.5, "2.5"), (2.5, [2.5]), ([0.1, 0.9], [0.9, 0.1]), ({"price": 3.0}, {"cost": 3.0})],
)
def test_an_answer_that_was_not_tested_is_told(api, tested, answer):
    released(api, tested)
    with model(answer) as url, pytest.raises(StageError, match=r"light:predict answers .*, and release 1 answers"):
        asking.working(api, url, 1e-5)


def test_where_nothing_was_released_there_is_nothing_to_ask(api):
    with pytest.raises(StageError, match="nothing was released yet"):
        asking.working(api, "http://127.0.0.1:9", 1e-5)


def built_for(context: str) -> None:
    """Leave the settings of a build whose model is served from a cluster."""
    settings = configuration.read(Path("pipeline.yaml"), [f"serving.context={json.dumps(context)}"])
    workspace.write_text(workspace.SETTINGS, configuration.dump(settings))


def test_serve_after_a_build_for_another_cluster_says_what_leads_to_it(machine: Machine, capsys):
    built_for("work")
    assert serve.main([]) == 0
    said = capsys.readouterr().out
    assert "kubectl --context work -n model-serving port-forward service/model 8501:8501" in said
    assert "not from this machine" in said


def test_serve_after_a_build_on_kind_leads_to_the_port_that_the_cluster_was_made_with(machine: Machine, capsys):
    free = port()
    kind.ready(kind.NAME, free, print)
    assert kind.address(f"kind-{kind.NAME}") == f"http://127.0.0.1:{free}"
    built_for(f"kind-{kind.NAME}")
    kind.delete(kind.NAME, print)
    capsys.readouterr()
    assert serve.main([]) == 1
    assert f"failed: there is no cluster {kind.NAME} any more: `make ci` makes it" in capsys.readouterr().err


def test_a_cluster_of_kind_that_is_not_ours_has_no_port_that_we_know(machine: Machine):
    foreign = nodes()
    del foreign[0]["metadata"]["labels"]
    machine.write("clusters", "theirs")
    machine.write("nodes.json", json.dumps({"items": foreign}))
    assert kind.address("kind-theirs") is None
    assert kind.address("work") is None
