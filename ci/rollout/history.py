"""A cluster's releases, in ConfigMaps: one with the list, and one with the evidence of each release."""

import json
from pathlib import Path
from typing import Any

from ci import workspace
from ci.apiserver import ApiServer, Conflict, Missing
from ci.errors import StageError
from ci.rollout.releases import Release

NAME = "rollout-history"
SCHEMA = 1
_KEY = "history.json"
_FOLDER = workspace.STATE / "cluster"


class History:
    """What `ci.rollout.releases` is to this machine, for a namespace of a cluster.

    Args:
        api: the API server.
        namespace: where the model serves.
    """

    def __init__(self, api: ApiServer, namespace: str) -> None:
        self._api, self._namespace = api, namespace
        self._path = f"/api/v1/namespaces/{namespace}/configmaps"

    def read(self) -> list[Release]:
        """Return every release, the oldest first.

        Raises:
            StageError: the record is damaged, or written by a newer version of this pipeline.
        """
        return self._parsed(self._api.get(f"{self._path}/{NAME}"))

    def last(self) -> Release | None:
        """Return the last verified release."""
        releases = self.read()
        return releases[-1] if releases else None

    def add(self, release: Release) -> Release:
        """Record a release under the next number; one that is the last already is not recorded again."""
        count: int | None = None
        for _ in range(5):
            seen = self._api.get(f"{self._path}/{NAME}")
            releases = self._parsed(seen)
            if releases and releases[-1]["digest"] == release["digest"]:
                return releases[-1]
            if count not in (None, len(releases)):
                raise StageError("another deployer has recorded a release meanwhile: this one is not recorded")
            count = len(releases)
            record = {"release": len(releases) + 1, **release}
            text = json.dumps({"schema": SCHEMA, "releases": [*releases, record]}, sort_keys=True)
            try:
                self._api.ask("PUT", f"{self._path}/{NAME}", {**seen, "data": {_KEY: text}})
            except Conflict:
                continue  # somebody has annotated it, or this is the answer to our own write: look again
            return record
        raise StageError(f"the ConfigMap {NAME} changes all the time: who writes it besides the deployer?")

    def keep(self, digest: str, files: dict[str, str]) -> None:
        """Store a release's evidence, unchangeable: file names with their text."""
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
                raise StageError(f"the ConfigMap {_name(digest)} holds other evidence for this image") from None

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

    def _parsed(self, seen: dict[str, Any]) -> list[Release]:
        text = (seen.get("data") or {}).get(_KEY)
        if text is None:
            return []
        try:
            found = json.loads(text)
            schema, releases = found["schema"], list(found["releases"])
        except (ValueError, KeyError, TypeError) as error:
            raise StageError(f"ConfigMap {NAME}, key {_KEY}: damaged ({error}): restore it from a backup") from None
        if schema != SCHEMA:
            raise StageError(
                f"ConfigMap {NAME} has schema {schema}, this pipeline reads {SCHEMA}: use a newer pipeline"
            )
        return releases


def _essence(files: dict[str, str]) -> dict[str, Any]:
    """Return what a rollout reads of evidence: the same image may have been evaluated against another champion."""
    manifest = json.loads(files["manifest.json"])
    return {**files, "manifest.json": {key: value for key, value in manifest.items() if key != "digests"}}


def _name(digest: str) -> str:
    return f"release-{digest.removeprefix('sha256:')[:16]}"
