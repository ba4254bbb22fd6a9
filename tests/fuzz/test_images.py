"""Image layouts and their layers, as they are verified and unpacked."""

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.errors import StageError
from ci.registry import layer
from ci.registry import layout as image
from tests.fuzz.harness import Surface, examples
from tests.fuzz.mutations import TEXTS, broken, json_text, mutated

pytestmark = pytest.mark.fuzz

TYPES = (
    tarfile.REGTYPE,
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.FIFOTYPE,
    tarfile.CHRTYPE,
    b"S",
    b"x",
)
NAMES = (
    "models",
    "models/m",
    "models/m/1",
    "models/m/1/saved_model.pb",
    "../escaped",
    "/escaped",
    "models/../../escaped",
)


@st.composite
def members(draw: st.DrawFn) -> tuple[tarfile.TarInfo, bytes]:
    found = tarfile.TarInfo(draw(st.sampled_from(NAMES) | st.sampled_from(TEXTS).filter(lambda text: "\0" not in text)))
    found.type = draw(st.sampled_from(TYPES[:2]) | st.sampled_from(TYPES))
    found.linkname = draw(st.sampled_from(("", "missing", "/etc/passwd", "..", NAMES[3])))
    content = draw(st.binary(max_size=30))
    found.size = draw(st.just(len(content)) | st.sampled_from([0, 1, 2**33, 3 * 2**30]))
    found.mode = draw(st.sampled_from([0o644, 0o7777, 0]))
    found.pax_headers = draw(
        st.sampled_from([{}, {}, {"mtime": "nan"}, {"size": "9" * 30}, {"path": "../escaped"}, {"a": "b" * 5000}])
    )
    return found, content


@st.composite
def layers(draw: st.DrawFn) -> bytes:
    held = io.BytesIO()
    for found, content in draw(st.lists(members(), max_size=4)):
        held.write(found.tobuf(tarfile.PAX_FORMAT, errors="surrogatepass"))
        held.write(content.ljust(-len(content) % 512 + len(content), b"\0"))
    held.write(b"\0" * 1024)
    return draw(broken(held.getvalue()))


def test_layers(surface: Surface) -> None:
    @given(layers())
    @examples(150)
    def each(content: bytes) -> None:
        Path("layer.tar").write_bytes(content)
        shutil.rmtree("out", ignore_errors=True)
        Path("out").mkdir()
        surface.read(lambda: layer.extract(Path("layer.tar"), Path("out")))
        assert not any(path.is_symlink() for path in Path("out").rglob("*"))

    each()


def test_layouts(surface: Surface) -> None:
    Path("saved_model.pb").write_bytes(b"graph")
    digest = image.build(Path("layout"), {"models/m/1/saved_model.pb": Path("saved_model.pb")}, {"a": "b"})
    image.index(Path("layout"), {digest: "x/m:1"})
    manifest = image.blob(Path("layout"), digest)
    index = Path("layout/index.json")
    whole: dict[Path, Any] = {path: json.loads(path.read_bytes()) for path in (index, manifest)}

    @given(st.sampled_from(sorted(whole)).flatmap(lambda path: st.tuples(st.just(path), mutated(whole[path]))))
    @examples(100)
    def each(found: tuple[Path, Any]) -> None:
        path, value = found
        before = path.read_bytes()
        content = json_text(value)
        path.write_bytes(content)
        try:
            surface.read(lambda: image.images(Path("layout")))
            surface.read(lambda: image.verify(Path("layout"), digest))
            surface.read(lambda: image.parts(content, "manifest"))
        finally:
            path.write_bytes(before)

    each()
    with pytest.raises(StageError):
        image.parts(b"{}", "manifest")
