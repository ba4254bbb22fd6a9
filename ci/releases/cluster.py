"""A cluster's releases, in ConfigMaps: one with the list, and one with the evidence of each release.

A ConfigMap holds 1 MiB. The list keeps to `MOST`: the oldest records go (see `ledger.compacted`), numbers go on.
"""

import json
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from ci import reading, workspace
from ci.errors import StageError
from ci.kube.api import ApiServer, Conflict, Missing
from ci.releases.ledger import Ledger, Release, compacted
from ci.results.file import Count, Result, first
from ci.results.rollout import Release as Record

NAME = "rollout-history"
SCHEMA = 1
MOST = 768 * 2**10
"""Bytes that the list may have: about 1,500 releases."""
_ROOM = 2**20
"""Bytes that a ConfigMap may have."""
_KEY = "history.json"
_PREFIX = "release-"
_FOLDER = workspace.STATE / "cluster"


class _List(Result):
    """What the ConfigMap holds."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    releases: list[Record]
    dropped: Count = 0
    """Releases that are older than the list goes back, or whose image was released again."""


class ClusterLedger(Ledger):
    """The releases of a namespace of a cluster.

    Args:
        api: the API server.
        namespace: where the model serves.
    """

    def __init__(self, api: ApiServer, namespace: str) -> None:
        super().__init__()
        self._api, self._namespace = api, namespace
        self._path = f"/api/v1/namespaces/{namespace}/configmaps"

    def read(self) -> list[Release]:
        """Return every release, the oldest first.

        Raises:
            StageError: the record is gone, damaged, was written by a newer version of this pipeline, or cannot be read.
        """
        return self._parsed(self._list())[0]

    def uid(self) -> str:
        """Return what this ledger is known by among those of all clusters.

        Raises:
            StageError: it is gone, or cannot be read.
        """
        return str(self._list()["metadata"]["uid"])

    def require_room(self) -> None:
        """Make sure that the next release can be recorded, before its rollout begins.

        Raises:
            StageError: the ConfigMap cannot be written, or others have filled it.
        """
        seen = self._list()
        if seen.get("immutable"):
            raise StageError(f"the ConfigMap {NAME} is immutable, so no release can be recorded: make it anew without")
        others = {key: value for key, value in (seen.get("data") or {}).items() if key != _KEY}
        taken = _size(others) + _size(seen.get("binaryData") or {})
        if taken + MOST + len(_KEY) > _ROOM:
            raise StageError(
                f"the ConfigMap {NAME} has {taken:,} bytes in keys that are not ours ({', '.join(sorted(others))}), "
                "so no release can be recorded: take them out"
            )

    def add(self, release: Release) -> Release:
        """Record a release under the next number; if it is the last one already, return that."""
        before: int | None = None
        for _ in range(5):
            seen = self._list()
            releases, dropped = self._parsed(seen)
            if releases and releases[-1]["digest"] == release["digest"]:
                return releases[-1]
            last = releases[-1]["release"] if releases else 0
            if before not in (None, last):
                raise StageError("another deployer has recorded a release meanwhile: this one is not recorded")
            before = last
            record = {"release": last + 1, **release}
            kept = compacted([*releases, record], MOST - 100)
            value = {"schema": SCHEMA, "releases": kept, "dropped": dropped + len(releases) + 1 - len(kept)}
            text = json.dumps(value, sort_keys=True)
            try:
                _List.model_validate_json(text)
                body = {**seen, "data": {**(seen.get("data") or {}), _KEY: text}}
                self._api.ask("PUT", f"{self._path}/{NAME}", body)
            except ValidationError as error:
                raise StageError(f"the release cannot be recorded: {first(error)}") from None
            except Conflict:
                continue  # somebody has annotated it, or this is the answer to our own write: look again
            return record
        raise StageError(f"the ConfigMap {NAME} changes all the time: who writes it besides the deployer?")

    def restore(self, releases: list[Release]) -> None:
        """Put these releases in the place of what is recorded; the ConfigMap is made if it is gone.

        Raises:
            StageError: it cannot be written.
        """
        dropped = releases[-1]["release"] - len(releases) if releases else 0
        text = json.dumps({"schema": SCHEMA, "releases": releases, "dropped": dropped}, sort_keys=True)
        try:
            seen = self._api.get(f"{self._path}/{NAME}")
        except Missing:
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": {_KEY: text}}
            self._api.ask("POST", self._path, body)
        else:
            self._api.ask("PUT", f"{self._path}/{NAME}", {**seen, "data": {**(seen.get("data") or {}), _KEY: text}})

    def keep(self, digest: str, files: dict[str, str]) -> None:
        """Store a version's evidence, which cannot be changed afterwards: file names with their text.

        Raises:
            StageError: it is larger than a ConfigMap may be, or other evidence is there for this image.
        """
        if (size := _size(files)) > _ROOM:
            sizes = ", ".join(f"{name} {len(text.encode()):,}" for name, text in sorted(files.items()))
            raise StageError(
                f"the evidence of this release has {size:,} bytes ({sizes}), and a ConfigMap holds {_ROOM:,}: fewer "
                "features or golden rows make it smaller"
            )
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": _name(digest), "labels": {"app.kubernetes.io/name": "model"}},
            "immutable": True,
            "data": files,
        }
        try:
            self._api.ask("POST", self._path, body)
        except Conflict:
            found = self._api.get(f"{self._path}/{_name(digest)}")["data"]
            if _essence(found) != _essence(files):
                name, essence = _name(digest), _essence(files)
                other = [file for file in sorted({*found, *files}) if _essence(found).get(file) != essence.get(file)]
                raise StageError(
                    f"the ConfigMap {name} holds other evidence for this image ({', '.join(other)}): was it evaluated "
                    f"on other data, or by another version of this pipeline? `kubectl delete configmap {name} -n "
                    f"{self._namespace}` makes room for the new evidence; then deploy again"
                ) from None

    def forget(self, keep: set[str], *, dry_run: bool) -> list[str]:
        """Delete the evidence of releases whose images are not kept, and return its names.

        The deployer may not delete ConfigMaps, as it could then delete the list: an operator does this.

        Raises:
            StageError: the account may not list or delete them.
        """
        found = self._api.get(self._path, labelSelector="app.kubernetes.io/name=model").get("items", [])
        names = [each["metadata"]["name"] for each in found if each.get("immutable")]
        kept = {_name(digest) for digest in keep}
        gone = sorted(name for name in names if name.startswith(_PREFIX) and name not in kept)
        for name in gone if not dry_run else ():
            with suppress(Missing):
                self._api.ask("DELETE", f"{self._path}/{name}")
        return [f"ConfigMap {name} of namespace {self._namespace}" for name in gone]

    def evidence(self, digest: str) -> Path:
        """Return a folder with a release's evidence, fetched once.

        Raises:
            StageError: the cluster has none: it was deleted by hand.
        """
        folder = _FOLDER / digest.removeprefix("sha256:")
        if not folder.exists():
            try:
                files = self._api.get(f"{self._path}/{_name(digest)}")["data"]
            except Missing:
                raise StageError(f"the ConfigMap {_name(digest)} with the evidence of {digest} is gone") from None
            with workspace.replacing(folder) as part:
                for name, text in files.items():
                    workspace.write_text(part / name, text)
        return folder

    def _list(self) -> dict[str, Any]:
        """Return the ConfigMap with the list: an operator makes it, empty, and a deployer may not."""
        try:
            return self._api.get(f"{self._path}/{NAME}")
        except Missing:
            raise StageError(
                f"namespace {self._namespace} has no ConfigMap {NAME}, which holds its releases: if it was deleted, "
                "restore it from a backup (`python -m scripts.restore`); if nothing was released there yet, "
                "`kubectl apply -k` of your overlay in k8s/overlays makes it"
            ) from None

    def _parsed(self, seen: dict[str, Any]) -> tuple[list[Release], int]:
        """Return the releases in the ConfigMap, and how many were dropped from it."""
        text = (seen.get("data") or {}).get(_KEY)
        if text is None:
            return [], 0
        where = f"ConfigMap {NAME} of namespace {self._namespace}, key {_KEY}"
        try:
            found = reading.json(text.encode(errors="surrogatepass"), where)
            schema = found.get("schema") if isinstance(found, dict) else None
            if isinstance(schema, int) and schema > SCHEMA:
                raise StageError(f"{where} has schema {schema}, this pipeline reads {SCHEMA}: use a newer pipeline")
            _List.model_validate_json(text)
        except reading.ReadError as error:
            raise StageError(f"{error}: restore it from a backup") from None
        except ValidationError as error:
            raise StageError(f"{where}: {first(error)}: restore it from a backup") from None
        releases: list[Release] = found["releases"]
        numbers = [0, *(release["release"] for release in releases)]
        if any(after <= before for before, after in pairwise(numbers)):
            raise StageError(f"{where}: releases: their numbers are not in order: restore it from a backup")
        dropped = found.get("dropped", 0)
        if numbers[-1] != len(releases) + dropped:
            why = f"the last release is {numbers[-1]}, but {len(releases)} are listed and {dropped} were dropped"
            raise StageError(f"{where}: releases: {why}: restore it from a backup")
        return releases, dropped


def _size(files: dict[str, str]) -> int:
    return sum(len(name) + len(text.encode(errors="surrogatepass")) for name, text in files.items())


def _essence(files: dict[str, str]) -> dict[str, Any]:
    """Return evidence without what differs where the build had another champion: digests of inputs, and its search."""
    manifest = json.loads(files["manifest.json"])
    rest = {name: text for name, text in files.items() if name != "prior.json"}
    return {**rest, "manifest.json": {key: value for key, value in manifest.items() if key != "digests"}}


def _name(digest: str) -> str:
    return f"{_PREFIX}{digest.removeprefix('sha256:')[:16]}"
