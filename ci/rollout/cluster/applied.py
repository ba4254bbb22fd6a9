"""Does the cluster hold what was applied? A function of both, and of who owns which field.

The API server keeps a field that we leave out if somebody else owns it too, and says nothing of that. What an admission
webhook changes stays as it is: it is the cluster's policy, and owned by whoever applied. Only what decides where
requests go, and which version a Deployment is of, must be as it was meant whoever has changed it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]
Path = tuple[str, ...]
"""Keys of `managedFields`: `f:NAME` for a field, `k:{…}` for the list's item with these values, `v:VALUE`."""
DIGEST = "model-serving/digest"
"""Annotation of a pod template: the digest of the image that it serves."""
_EXACT: dict[str, tuple[Path, ...]] = {"Service": (("f:spec", "f:selector"),)}
"""Maps in which what was not meant counts too, by kind."""
_DECIDE: dict[str, tuple[Path, ...]] = {
    "Service": (("f:spec", "f:selector"),),
    "Deployment": (
        ("f:spec", "f:replicas"),
        ("f:spec", "f:template", "f:metadata", "f:annotations", f"f:{DIGEST}"),
    ),
}
"""What must be as it was meant, by kind."""
_HANDED_OVER = {("f:spec", "f:replicas")}
"""Left out so that another sets it: an autoscaler."""


@dataclass(frozen=True)
class Unmet:
    """A field that is not as it was meant.

    Attributes:
        field: its path, such as `spec.selector.track`.
        meant: the value that was applied, None if the field was left out.
        found: the value that is there, None if there is none.
        owners: who else owns it, each with how it wrote it; none if the API server knows of nobody.
        decides: where requests go, or which version this is, depends on it.
    """

    field: str
    meant: Any
    found: Any
    owners: tuple[str, ...]
    decides: bool

    def __str__(self) -> str:
        was = "was to be left out" if self.meant is None else f"was to be {_shown(self.meant)}"
        is_ = "is not there" if self.found is None else f"is {_shown(self.found)}"
        if self.owners:
            owned = f"own{'s' * (len(self.owners) == 1)} it{' too' * (self.meant is None)}"
            return f"{self.field} {is_} and {was}: {' and '.join(self.owners)} {owned}"
        return f"{self.field} {is_} and {was}: nobody else owns it, so an admission webhook has set it"


def unmet(wanted: Json, before: Json | None, there: Json, manager: str) -> list[Unmet]:
    """Return the fields that are not as they were applied, of those that matter to what serves.

    Args:
        wanted: what was applied.
        before: the object before that, None if there was none.
        there: the object since.
        manager: under which name it was applied.
    """
    kind, found = wanted["kind"], {}
    for path in _DECIDE.get(kind, ()):
        for at, value in _leaves(_at(wanted, path), path):
            if (is_ := _at(there, at)) != value:
                found[at] = Unmet(_words(at), value, is_, owners(there, at, manager), decides=True)
    for path in _EXACT.get(kind, ()):
        meant = _at(wanted, path) or {}
        for key, value in (_at(there, path) or {}).items():
            if key not in meant:
                at = (*path, f"f:{key}")
                found[at] = Unmet(_words(at), None, value, owners(there, at, manager), decides=True)
    ours = _owned(there, manager)
    for at in sorted(_owned(before or {}, manager) - ours):
        also, value = owners(there, at, manager), _at(there, at)
        if at[0] == "f:spec" and also and value is not None and at not in _HANDED_OVER and at not in found:
            found[at] = Unmet(_words(at), None, value, also, decides=False)
    return [each for at, each in found.items() if not any(at[:size] in found for size in range(1, len(at)))]


def owners(there: Json, path: Path, manager: str = "") -> tuple[str, ...]:
    """Return who owns a field besides a manager that applies, by name and operation: `kubectl-edit (Update)`."""
    names = []
    for entry in there["metadata"].get("managedFields") or ():
        ours = entry.get("manager") == manager and entry.get("operation") == "Apply"
        if not ours and any(_covers(owned, path) for owned in _paths(entry.get("fieldsV1") or {})):
            names.append(f"{entry.get('manager')} ({entry.get('operation')})")
    return tuple(dict.fromkeys(names))


def owns(there: Json, path: Path, manager: str) -> bool:
    """Tell whether a manager owns a field by having applied it."""
    return any(_covers(owned, path) for owned in _owned(there, manager))


def _owned(found: Json, manager: str) -> set[Path]:
    entries = (found.get("metadata") or {}).get("managedFields") or ()
    ours = [e for e in entries if e.get("manager") == manager and e.get("operation") == "Apply"]
    return {path for entry in ours for path in _paths(entry.get("fieldsV1") or {})}


def _paths(fields: Json, at: Path = ()) -> Iterator[Path]:
    """Yield the path of each owned field; nothing is listed below a field that is owned as a whole."""
    for key, below in fields.items():
        if key == ".":
            yield at
        elif below:
            yield from _paths(below, (*at, key))
        else:
            yield (*at, key)


def _covers(owned: Path, path: Path) -> bool:
    """Tell whether the owner of one field also owns another: the same field, or a part of it."""
    if owned == path:
        return True
    whole = bool(owned) and owned == path[: len(owned)]
    return whole and not owned[-1].startswith("k:")  # to own a list's item is not to own the item's fields


def _leaves(value: Any, at: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _leaves(below, (*at, f"f:{key}"))
    elif value is not None:
        yield at, value


def _at(found: Any, path: Path) -> Any:
    """Return what is at a path, None if there is nothing."""
    for key in path:
        sort, name = key[:2], key[2:]
        if sort == "f:" and isinstance(found, Mapping):
            found = found.get(name)
        elif sort == "k:" and isinstance(found, Sequence):
            wanted = json.loads(name).items()
            found = next((each for each in found if all(each.get(k, _DEFAULTS.get(k)) == v for k, v in wanted)), None)
        elif sort == "v:" and isinstance(found, Sequence):
            found = next((each for each in found if each == json.loads(name)), None)
        else:
            return None
    return found


_DEFAULTS = {"protocol": "TCP"}


def _words(path: Path) -> str:
    """Return a path as people write it: `spec.ports[port=8500,protocol=TCP].name`."""
    text = ""
    for key in path:
        if key.startswith("f:"):
            text += f".{key[2:]}"
        elif key.startswith("k:"):
            text += "[" + ",".join(f"{name}={value}" for name, value in json.loads(key[2:]).items()) + "]"
        else:
            text += f"[{key[2:]}]"
    return text.lstrip(".")


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 100 else f"{text[:100]}\N{HORIZONTAL ELLIPSIS}"
