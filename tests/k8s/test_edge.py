"""The edge: who may ask and how often, by real requests to the real nginx; and which ways lead to a serving pod."""

import base64
import hashlib
import hmac
import json
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import requests
import yaml

from ci.capture import gateways
from tests import pods
from tests.k8s.rendering import OVERLAYS, objects
from tests.k8s.test_gateway import PREDICT, Gateway, Server

SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of this test
KEY = "a key that nobody guesses"


def token(claims: dict[str, Any], secret: str = SECRET, algorithm: str = "HS256") -> str:
    """Return a JSON Web Token as RFC 7519 has it."""
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=") for each in ({"alg": algorithm}, claims)]
    signed = hmac.new(secret.encode(), b".".join(parts), hashlib.sha256).digest()
    return b".".join([*parts, base64.urlsafe_b64encode(signed).rstrip(b"=")]).decode()


def claims(**changes: Any) -> dict[str, Any]:
    found = {"sub": "app", "aud": "model", "exp": time.time() + 86400, **changes}
    return {name: value for name, value in found.items() if value is not None}


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that knows one key and one secret for tokens; `upstream` is the server behind it."""
    folder, server = tmp_path_factory.mktemp("edge"), Server()
    (folder / "clients").mkdir()
    (folder / "clients/shop.sha256").write_text(hashlib.sha256(KEY.encode()).hexdigest() + "\n")
    (folder / "clients/jwt.key").write_text(SECRET)
    found = Gateway(folder, server.port, edge=True)
    found.upstream = server
    yield found
    found.process.terminate()
    found.process.wait()
    server.http.shutdown()


def ask(edge: Gateway, **headers: str) -> requests.Response:
    body = {"instances": [{"x": 1.0}]}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(f"{edge.url}{PREDICT}", json=body, headers=named, timeout=20)


KNOWN = {
    "a key": {"X_API_Key": KEY},
    "a token": {"Authorization": "Bearer " + token(claims())},
    "a token for several": {"Authorization": "Bearer " + token(claims(aud=["other", "model"]))},
}
UNKNOWN = {
    "nobody": {},
    "another key": {"X_API_Key": KEY[:-1]},
    "the digest of the key": {"X_API_Key": hashlib.sha256(KEY.encode()).hexdigest()},
    "a key with a path": {"X_API_Key": "../clients/shop"},
    "a very long key": {"X_API_Key": "x" * 5000},
    "a key as a token": {"Authorization": f"Bearer {KEY}"},
    "a token that is over": {"Authorization": "Bearer " + token(claims(exp=time.time() - 1))},
    "a token without an end": {"Authorization": "Bearer " + token(claims(exp=None))},
    "a token whose end is a text": {"Authorization": "Bearer " + token(claims(exp="9999999999"))},
    "a token of tomorrow": {"Authorization": "Bearer " + token(claims(nbf=time.time() + 86400))},
    "a token for others": {"Authorization": "Bearer " + token(claims(aud="other"))},
    "a token for nobody": {"Authorization": "Bearer " + token(claims(aud=None))},
    "a token of nobody": {"Authorization": "Bearer " + token(claims(sub=None))},
    "a token signed otherwise": {"Authorization": "Bearer " + token(claims(), secret="x" * 32)},
    "a token that says it is not signed": {"Authorization": "Bearer " + token(claims(), algorithm="none")},
    "a token without a signature": {"Authorization": "Bearer " + token(claims()).rpartition(".")[0] + "."},
    "a token with other claims": {
        "Authorization": "Bearer " + token(claims()).split(".")[0] + "." + token(claims(sub="root")).split(".")[1] + "."
        + token(claims()).split(".")[2]
    },
    "no token": {"Authorization": "Bearer a.b.c"},
    "a password": {"Authorization": "Basic " + base64.b64encode(b"shop:x").decode()},
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_who_is_known_is_served(edge: Gateway, name: str) -> None:
    answer = ask(edge, **KNOWN[name])
    assert (answer.status_code, answer.json()) == (200, {"predictions": [0.5]})


@pytest.mark.parametrize("name", UNKNOWN)
def test_who_is_not_known_is_turned_away_before_the_server_and_not_counted_as_its_failure(
    edge: Gateway, name: str
) -> None:
    before = gateways.ask(edge.inside)
    answer = ask(edge, **UNKNOWN[name])
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "is needed" in answer.json()["error"]
    after = gateways.ask(edge.inside)
    assert [after[key] for key in ("requests", "errors", "refused")] == [
        before[key] for key in ("requests", "errors", "refused")
    ]


def test_a_key_that_is_added_or_taken_away_counts_at_once(edge: Gateway) -> None:
    file = Path(edge.state.parent / "clients/new.sha256")
    assert ask(edge, X_API_Key="new").status_code == 401
    file.write_text(hashlib.sha256(b"new").hexdigest())
    assert ask(edge, X_API_Key="new").status_code == 200
    file.unlink()
    assert ask(edge, X_API_Key="new").status_code == 401


def test_one_client_that_asks_too_often_is_told_so_and_another_is_served(edge: Gateway) -> None:
    flood = {"Authorization": "Bearer " + token(claims(sub="flood"))}
    with ThreadPoolExecutor(16) as clients:
        answers = [each.result() for each in [clients.submit(ask, edge, **flood) for _ in range(500)]]
        quiet = ask(edge, X_API_Key=KEY)
    told = Counter(answer.status_code for answer in answers)
    assert set(told) == {200, 429}
    assert told[200] >= 101, "the burst"
    late = next(answer for answer in answers if answer.status_code == 429)
    assert (late.headers["Retry-After"], "too many requests" in late.json()["error"]) == ("1", True)
    assert quiet.status_code == 200


def test_neither_the_key_nor_the_token_is_in_a_log_or_reaches_the_server(edge: Gateway) -> None:
    for headers in KNOWN.values():
        assert ask(edge, **headers).status_code == 200
        assert not {"authorization", "x-api-key"} & {name.lower() for name in edge.upstream.headers}
    entry = edge.logged("POST")
    folder = edge.state.parent
    said = (folder / "access.log").read_text() + (folder / "error.log").read_text()
    assert KEY not in said
    assert token(claims()).partition(".")[0] not in said
    assert entry["status"] == 200


def rendered(folder: Path, overlay: str, *components: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what an overlay gives with some components."""

    def relative(path: str) -> str:
        return os.path.relpath(pods.REPOSITORY / path, folder.resolve())

    root = {"resources": [relative(f"k8s/overlays/{overlay}")]}
    root["components"] = [relative(f"k8s/components/{name}") for name in components]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(root))
    done = subprocess.run(["kubectl", "kustomize", folder], check=True, capture_output=True, text=True, timeout=60)
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(done.stdout)}


def test_the_clients_component_gives_both_versions_the_same_checks(tmp_path: Path) -> None:
    found = rendered(tmp_path, "production/server", "edge/clients")
    [name] = [name for kind, name in found if kind == "ConfigMap" and name.startswith("edge-")]
    assert set(found["ConfigMap", name]["data"]) == {"http.conf", "server.conf", "edge.js"}
    assert {each["metadata"]["namespace"] for each in found.values()} == {"model-serving"}
    for deployment in ("model-stable", "model-canary"):
        pod = found["Deployment", deployment]["spec"]["template"]["spec"]
        volumes = {each["name"]: each for each in pod["volumes"]}
        assert volumes["edge"]["configMap"]["name"] == name
        assert volumes["clients"]["secret"]["secretName"] == "model-clients"
        mounts = {each["name"]: each for each in pod["containers"][1]["volumeMounts"]}
        assert (mounts["edge"]["mountPath"], mounts["clients"]["mountPath"]) == ("/etc/edge", "/etc/edge-clients")
        assert not {"edge", "clients"} & {each["name"] for each in pod["containers"][0]["volumeMounts"]}
    for each in found.values():
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_as_shipped_nothing_of_the_edge_is_there(overlay: str) -> None:
    both = {**objects(f"k8s/overlays/{overlay}"), **objects(f"k8s/overlays/{overlay}/server")}
    assert not [name for kind, name in both if kind in ("Ingress", "Gateway", "HTTPRoute") or name.startswith("edge")]
    assert "model-clients" not in json.dumps([*both.values()])


@pytest.mark.parametrize("variant", ["ingress", "gateway-api"])
def test_from_outside_one_host_leads_by_tls_to_predictions_and_nothing_else(tmp_path: Path, variant: str) -> None:
    found = rendered(tmp_path, "production", f"edge/{variant}")
    service = objects("k8s/overlays/production/server")["Service", "model"]
    [port] = service["spec"]["ports"]
    if variant == "ingress":
        spec = found["Ingress", "model"]["spec"]
        kubernetes_validate.validate(found["Ingress", "model"], kubernetes_validate.latest_version(), strict=True)
        [rule], [tls] = spec["rules"], spec["tls"]
        [path] = rule["http"]["paths"]
        assert tls == {"hosts": [rule["host"]], "secretName": "model-tls"}
        assert (path["path"], path["pathType"]) == ("/v1/models", "Prefix")
        assert path["backend"]["service"] == {"name": service["metadata"]["name"], "port": {"name": port["name"]}}
        return
    gateway, route = found["Gateway", "model"]["spec"], found["HTTPRoute", "model"]["spec"]
    [listener], [rule] = gateway["listeners"], route["rules"]
    assert (listener["protocol"], listener["tls"]["mode"]) == ("HTTPS", "Terminate")
    assert [listener["hostname"]] == route["hostnames"]
    assert route["parentRefs"] == [{"name": "model", "sectionName": listener["name"]}]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/v1/models"}}]
    assert rule["backendRefs"] == [{"name": service["metadata"]["name"], "port": port["port"]}]


SOURCES = {
    "clients": ("app", {"model-serving-client": "true"}, {}),
    "pipeline": ("model-pipeline", {}, {}),
    "Prometheus": ("monitoring", {}, {}),
    "Ingress controller": ("ingress-nginx", {}, {}),
    "Gateway": ("gateway-system", {}, {}),
    "serving pods": ("", {}, {"app.kubernetes.io/name": "model"}),
    "tuning Job": ("model-pipeline", {}, {"app.kubernetes.io/component": "tuning"}),
    "monitor": ("model-pipeline", {}, {"app.kubernetes.io/component": "monitor"}),
    "monitor's metrics": ("model-pipeline", {}, {"app.kubernetes.io/component": "monitor-metrics"}),
    "anybody else": ("default", {}, {}),
}
"""Whose pods: their namespace (empty: that of serving), its labels and theirs."""
PORTS = {"serving pods": ("rest", "server", "inside"), "tuning Job": ("oracle",)}
WATCHING = {"monitor": ("any",), "monitor's metrics": ("metrics",)}
"""What can be reached, as the policies name it; the second where the component of monitoring is."""


def matches(selector: dict[str, Any] | None, labels: dict[str, str]) -> bool:
    assert selector is None or {*selector} <= {"matchLabels"}, "read by this test"
    return selector is None or selector.get("matchLabels", {}).items() <= labels.items()


def open_ways(
    policies: list[dict[str, Any]], serving: str, ports: dict[str, tuple[str, ...]]
) -> set[tuple[str, str, str]]:
    """Return source, target and port of all that network policies let through, as Kubernetes evaluates them."""

    def where(name: str) -> tuple[str, dict[str, str], dict[str, str]]:
        namespace, of_namespace, of_pod = SOURCES[name]
        namespace = namespace or serving
        return namespace, {"kubernetes.io/metadata.name": namespace, **of_namespace}, of_pod

    def lets(direction: str, of: str, other: str, port: str) -> bool:
        namespace, _, labels = where(of)
        theirs, their_namespace, their_labels = where(other)
        here = [
            each["spec"] for each in policies
            if each["metadata"]["namespace"] == namespace and matches(each["spec"]["podSelector"], labels)
            and direction in each["spec"]["policyTypes"]
        ]  # fmt: skip
        rules = [rule for spec in here for rule in spec.get(direction.lower()) or ()]
        key = "from" if direction == "Ingress" else "to"

        def peer(each: dict[str, Any]) -> bool:
            assert {*each} <= {"namespaceSelector", "podSelector"}, "read by this test"
            of_namespace = each.get("namespaceSelector")
            near = theirs == namespace if of_namespace is None else matches(of_namespace, their_namespace)
            return near and matches(each.get("podSelector"), their_labels)

        return not here or any(
            (not rule.get("ports") or port in {each["port"] for each in rule["ports"]})
            and (not rule.get(key) or any(map(peer, rule[key])))
            for rule in rules
        )

    return {
        (source, target, port)
        for source in SOURCES for target, names in ports.items() for port in names
        if lets("Egress", source, target, port) and lets("Ingress", target, source, port)
    }  # fmt: skip


def declared() -> list[tuple[str, str, str, str]]:
    """Return the rows of the table of flows in docs/kubernetes.md: source, target, port, and where it is so."""
    text = (pods.REPOSITORY / "docs/kubernetes.md").read_text(encoding="utf-8")
    section = text.split("## Flows", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| `(\w+)` \| ([^|]+) \|", section, re.MULTILINE)
    assert len(rows) >= 8
    return rows


VARIANTS = ("", "edge/ingress", "edge/gateway-api", "monitoring")
CASES = [(overlay, variant) for overlay in OVERLAYS for variant in VARIANTS]


@pytest.mark.parametrize(("overlay", "variant"), CASES)
def test_exactly_the_flows_of_the_table_are_open(tmp_path: Path, overlay: str, variant: str) -> None:
    found = rendered(tmp_path, overlay, *filter(None, [variant]))
    serving, watched = found["Service", "model-canary"]["metadata"]["namespace"], variant == "monitoring"
    policies = [each for (kind, _), each in found.items() if kind == "NetworkPolicy"]
    for each in policies:
        if each["metadata"]["name"] == "edge":
            each["metadata"]["namespace"] = serving
    silent = {"serving pods", "monitor's metrics"}  # they may reach nobody
    others = SOURCES.keys() - {*silent, *(() if watched else WATCHING)}
    wanted = {
        (source, target, port)
        for who, target, port, at in declared()
        if at in ("always", f"overlay {overlay}", f"component {variant}")
        for source in (others if who == "everybody" else [who])
    }
    ways = open_ways(policies, serving, {**PORTS, **(WATCHING if watched else {})})
    assert {way for way in ways if way[0] in others} == wanted
    assert not {way for way in ways if way[0] in silent and (watched or way[0] not in WATCHING)}
