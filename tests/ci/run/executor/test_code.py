"""The code that the pods of a build clone."""

import os
from pathlib import Path

import pytest

from ci.run.executor import code
from tests.repositories import git


@pytest.fixture
def repository(tmp_path, monkeypatch) -> str:
    """A repository with one file; its commit."""
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    Path("file").write_text("one\n")
    git("add", "-A")
    git("commit", "-qm", "one")
    return git("rev-parse", "HEAD").strip()


def test_a_file_that_was_only_touched_is_no_change(repository):
    os.utime("file", (1, 1))
    found = code.pack()
    assert (found.commit, found.note) == (repository, "")


def test_what_is_not_committed_is_part_of_the_build_and_said(repository):
    os.utime("file", (1, 1))
    Path("other").write_text("unknown\n")
    Path("file").write_text("two\n")
    found = code.pack()
    assert found.commit != repository
    assert "changes that are not committed are part of this build" in found.note
    assert "files that Git does not know are not (other)" in found.note
    assert git("show", f"{found.commit}:file") == "two\n"
