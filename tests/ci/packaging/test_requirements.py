"""Requirement files as pip reads them: nothing that they name is lost, and what cannot be read is told by line."""

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from ci.errors import InputError
from ci.packaging import requirements, sbom

HASH = f"sha256:{'0' * 64}"
ARCHIVE = "https://example.com/archived-2.0.tar.gz"
TOOL = "git.example.com/team/tool.git"
NUMPY, YAML = metadata.version("numpy"), metadata.version("pyyaml")


@pytest.fixture(autouse=True)
def _site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with distributions that no index has: from a repository, an archive, a folder; and one with an extra."""
    site = tmp_path / "site"
    git = {
        "url": "https://user:secret@git.example.com/team/tool.git",
        "vcs_info": {"vcs": "git", "commit_id": "ab" * 20},
    }
    distribution(site, "git-tool", "1.2", git)
    distribution(site, "archived", "2.0", {"url": ARCHIVE, "archive_info": {}})
    distribution(site, "local-lib", "0.1", {"url": (tmp_path / "lib").as_uri(), "dir_info": {"editable": True}})
    distribution(
        site, "plugged", "3.0", None, 'Requires-Dist: pyyaml; extra == "yaml"', "Requires-Dist: absent-package"
    )
    monkeypatch.syspath_prepend(site)
    monkeypatch.chdir(tmp_path)


def distribution(site: Path, name: str, version: str, direct: dict[str, Any] | None, *lines: str) -> None:
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(
        "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines])
    )
    if direct:
        (folder / "direct_url.json").write_text(json.dumps(direct))


def named(text: str | bytes) -> list[str]:
    Path("requirements.txt").write_bytes(text.encode() if isinstance(text, str) else text)
    return list(requirements.installed(Path("requirements.txt")))


@pytest.mark.parametrize(
    "text",
    [
        f"numpy=={NUMPY}",
        f"NumPy == {NUMPY}",
        f"\ufeffnumpy=={NUMPY}\n",
        f"\ufeff# pins\r\nnumpy=={NUMPY}\r\n",
        f"numpy=={NUMPY} --hash={HASH} --hash {HASH}",
        f"numpy=={NUMPY} \\\n    --hash={HASH} \\\n    --hash={HASH}\n    # via x",
        f'numpy=={NUMPY} ; python_version >= "3" \\\n    --hash={HASH}',
        f'numpy=={NUMPY}; python_version >= "3" \\\n    and os_name == "posix" --hash={HASH}',
        f"numpy \\\n  =={NUMPY}",
        f"numpy=={NUMPY} # a comment with \\\n",
        f"numpy=={NUMPY}\t# a comment",
        f"numpy=={NUMPY} --config-settings='--build-option=x y' --global-option=--x",
        f"numpy=={NUMPY} \\",
        f"-i https://u:secret@x.org/simple\n--extra-index-url=https://x/ --trusted-host x\nnumpy=={NUMPY}",
        f"--require-hashes\n--no-binary :all:\n--only-binary=numpy\n-f ./wheels\n-i https://x\n--pre\nnumpy>={NUMPY}",
        f"-c constraints.txt\n-cconstraints.txt\n--constraint=constraints.txt\nnumpy<={NUMPY}",
        "numpy @ https://user:secret@example.com/numpy.zip#sha256=0",
        "numpy@https://example.com/numpy.zip",
        f"https://example.com/dist/numpy-{NUMPY}.tar.gz#sha256=0",
        f"./wheels/numpy-{NUMPY}-cp311-cp311-manylinux_2_27_x86_64.whl ; python_version > '3'",
        "git+https://git.example.com/numpy@main#egg=numpy&subdirectory=x",
        "-e git+ssh://git@git.example.com/numpy.git#egg=numpy",
        "--editable=git+https://git.example.com/numpy.git#egg=numpy",
        "-e numpy @ git+https://git.example.com/numpy.git",
        "numpy;python_version>'3'\nno-such; python_version < '3'\nno-such[x]==1; sys_platform == 'win32' --hash=x:0",
    ],
)
def test_a_package_is_found_however_it_is_written(text: str) -> None:
    assert named(text) == ["numpy"]


@pytest.mark.parametrize(
    ("text", "name", "where"),
    [
        (f"git+https://{TOOL}", "git-tool", ("vcs", f"https://{TOOL}@{'ab' * 20}")),
        ("-e git+https://me:x@git.example.com/team/tool.git@v1", "git-tool", None),
        (ARCHIVE, "archived", ("distribution", ARCHIVE)),
        ("-e ./lib", "local-lib", None),
        ("-e lib/", "local-lib", None),
        ("./lib[extra] ; python_version > '3'", "local-lib", None),
    ],
)  # fmt: skip
def test_an_address_or_a_folder_is_the_package_that_was_installed_from_there(
    text: str, name: str, where: tuple[str, str] | None
) -> None:
    assert named(text) == [name]
    found = metadata.distribution(name)
    assert "secret" not in str(requirements.origin(found))
    if where:
        assert requirements.origin(found) == where
    digests = {"model": HASH, "data": HASH}
    text = json.dumps(sbom.bill("m", "1", digests, {"inputs": {}, "outputs": {"y": {}}}, None))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    component = json.loads(text)["components"][-1]
    assert component["purl"] == f"pkg:generic/{name}@{found.version}"
    assert component.get("externalReferences", []) == (
        [] if name == "local-lib" else [dict(zip(("type", "url"), requirements.origin(found) or (), strict=True))]
    )


def test_other_files_are_read_where_they_lie_and_each_once() -> None:
    Path("more/deep").mkdir(parents=True)
    Path("more/a.txt").write_text("-r deep/b.txt\n-r deep/b.txt\n-r ../requirements.txt")
    Path("more/deep/b.txt").write_text(f"pyyaml=={YAML}")
    for option in ("-r more/a.txt", "-rmore/a.txt", "--requirement more/a.txt", "--requirement=more/a.txt"):
        assert named(f"{option}\nnumpy") == ["numpy", "pyyaml"]


def test_what_an_extra_asks_for_is_in_the_bill_and_what_is_not_there_is_not() -> None:
    assert named("plugged") == ["plugged"]
    assert named("plugged[yaml]") == ["plugged", "pyyaml"]
    assert named("plugged[yaml,other]==3.0") == ["plugged", "pyyaml"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# pins\nnumpy==0.0.1", f"requirements.txt:2: numpy==0.0.1 is not what is installed here, {NUMPY}: `make"),
        ("numpy \\\n\\\n==0.0.1\n", "requirements.txt:1: numpy ==0.0.1 is not what is installed"),
        ("no-such-package-here", "requirements.txt:1: no-such-package-here is not installed here"),
        ("numpy = 2", "requirements.txt:1: numpy = 2 is no requirement"),
        ("numpy; nonsense == 1", "requirements.txt:1: numpy; nonsense == 1 is no requirement"),
        ("numpy==2 pyyaml==6", "requirements.txt:1: numpy==2 pyyaml==6 is no requirement"),
        ("numpy --unknown=1", "requirements.txt:1: --unknown is no option of requirement files"),
        ("--unknown", "requirements.txt:1: --unknown is no option of requirement files"),
        ("-r", "requirements.txt:1: -r is no option of requirement files, or lacks its value"),
        ("-e", "requirements.txt:1: -e is no option of requirement files, or lacks its value"),
        ("-e 'x", "requirements.txt:1: -e 'x cannot be read: No closing quotation"),
        ("\n-r gone.txt", "requirements.txt:2: gone.txt is missing"),
        ("-r latin.txt", "latin.txt:2: not UTF-8 text"),
        ("-r /dev/zero", "/dev/zero: this is no plain file"),
        ("-r deep.txt", "deep.txt:1: no-such is not installed here"),
        ("./gone", "requirements.txt:1: ./gone names no package that is installed here: write it as `NAME @ URL`"),
        ("-e .", "requirements.txt:1: . names no package that is installed here"),
        ("git+https://me:secret@x.example.com/y", "requirements.txt:1: git+https://x.example.com/y names no package"),
        ("https://[x/y.zip", "requirements.txt:1: https://[x/y.zip is no requirement"),
        ("numpy @ ", "requirements.txt:1: numpy @ is no requirement"),
        ("\ufeff\ufeffnumpy", "is no requirement"),
        (b"a\xff", "requirements.txt:1: not UTF-8 text"),
        ("numpy\n".encode("utf-16"), "requirements.txt:1: not UTF-8 text"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_or_is_not_there_is_told_by_line(text: str | bytes, said: str) -> None:
    Path("latin.txt").write_bytes(b"a\ncaf\xe9\n")
    Path("deep.txt").write_text("no-such")
    with pytest.raises(InputError) as error:
        named(text)
    assert said in str(error.value)
    assert "secret" not in str(error.value)


def test_files_that_name_each_other_many_times_are_read_in_no_time() -> None:
    for number in range(60):
        Path(f"{number}.txt").write_text(f"-r {number + 1}.txt\n-r {number + 1}.txt\n")
    Path("60.txt").write_text("numpy")
    assert named("-r 0.txt") == ["numpy"]


def test_a_long_chain_of_files_is_refused() -> None:
    for number in range(2000):
        Path(f"{number}.txt").write_text(f"-r {number + 1}.txt")
    with pytest.raises(InputError, match="requirement files name more than 100 others"):
        named("-r 0.txt")
