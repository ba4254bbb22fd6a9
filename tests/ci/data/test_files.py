"""Files that rows name: those that cannot be read are named, and tolerated up to a share."""

import pytest

INIT = """\
KIND = "binary"
TARGET = "y"
TIME = "day"
FEATURES = {"x": "float32", "file": "bytes"}
SLICES = ()
"""


@pytest.fixture
def prepare(task):
    """Prepare the tiny task, whose rows name a file each; it is changed before."""
    task.write("__init__.py", INIT)
    (task.folder / "good").write_bytes(b"content")
    (task.folder / "folder").mkdir()
    settings = (task.folder / "pipeline.yaml").read_text()

    def run(change, unreadable=0.0):
        (task.folder / "pipeline.yaml").write_text(
            settings.replace("traffic_days", f"unreadable: {unreadable}, traffic_days")
        )
        return task.prepare(change=lambda rows: change(rows.assign(file="good")))

    return run


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none", "none is missing"),
        ("", "no plain file"),
        ("folder", "no plain file"),
        ("a\0b", "cannot be read"),
        ("x" * 300, "cannot be read"),
        ("/etc/hostname", "'/etc/hostname' is outside of the folder"),
        ("folder/../../pipeline.yaml", "'folder/../../pipeline.yaml' is outside of the folder"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(prepare, name, words):
    code, said = prepare(lambda rows: rows.assign(file=rows["file"].mask(rows.index == 40, name)))
    assert (code, words in said, "data.unreadable is 0" in said) == (2, True, True), said


def test_a_path_may_lead_through_folders_within_that_of_the_source(prepare, task):
    code, said = prepare(
        lambda rows: rows.assign(file=["folder/../good", str(task.folder / "good")] * (len(rows) // 2))
    )
    assert code == 0, said


def test_a_share_of_them_is_left_out_and_told(prepare):
    code, said = prepare(lambda rows: rows.assign(file=rows["file"].mask(rows.index == 40, "none")), unreadable=0.01)
    assert (code, "1 rows (0.42%), whose files cannot be read: none is missing" in said) == (0, True), said


def test_a_request_that_names_no_file_is_one_that_cannot_be_read(prepare):
    """Row 202 is of a day after as_of, where users may leave a field out."""
    code, said = prepare(lambda rows: rows.assign(file=rows["file"].mask(rows.index == 202, None)), unreadable=0.01)
    assert (code, "no file is named" in said) == (0, True), said
