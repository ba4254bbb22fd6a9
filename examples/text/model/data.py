"""First sentences of docstrings in Python packages, read from their files."""

import ast
import importlib.util
from pathlib import Path

import pandas as pd

from model import CLASSES

FILES = 120
"""Files of a package at most, the largest first."""


def load(source):
    """Return a row for each docstring: its first paragraph without the package's name, the file, and the package."""
    rows = []
    for library in CLASSES:
        (root,) = map(Path, importlib.util.find_spec(library).submodule_search_locations)
        files = [path for path in root.rglob("*.py") if "test" not in path.relative_to(root).as_posix()]
        for path in sorted(files, key=lambda path: (-path.stat().st_size, path.as_posix()))[:FILES]:
            name = f"{library}/{path.relative_to(root).as_posix()}"
            rows += [{"text": text, "file": name, "library": library} for text in _docstrings(path, library)]
    table = pd.DataFrame(rows).drop_duplicates("text").reset_index(drop=True)
    length = pd.cut(table["text"].str.split().str.len(), [0, 10, 25, 10_000], labels=["short", "medium", "long"])
    return table.assign(length=length.astype(str))


def _docstrings(path, library):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(node)):
            first = " ".join(text.split("\n\n")[0].split()).lower().replace(library, "it")
            if len(first.split()) >= 5:
                yield first
