"""A log of captured requests: each line is an entry, is empty, or is named."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci.capture import log
from ci.errors import InputError

ENTRY = {"number": 1, "time": "2013-04-01T12:00:00Z", "path": "/v1", "status": 200, "request": "{}", "response": "{}"}
LINES = st.one_of(
    st.just(json.dumps(ENTRY).encode()),
    st.sampled_from([*ENTRY]).map(lambda key: json.dumps({**ENTRY, key: None}).encode()),
    st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b"")),
)


@settings(max_examples=60, deadline=None)
@given(lines=st.lists(LINES, max_size=6), broken_off=st.binary(max_size=5).map(lambda end: end.replace(b"\n", b"")))
def test_each_line_is_an_entry_or_is_named_and_only_a_file_of_others_is_refused(tmp_path_factory, lines, broken_off):
    path = tmp_path_factory.mktemp("log") / "captured.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines) + broken_off)
    good = [line == json.dumps(ENTRY).encode() for line in lines]
    named = [place for place, line in enumerate(lines, 1) if line.strip() and not good[place - 1]]
    if named and not any(good):
        with pytest.raises(InputError, match=rf"no line is a captured request: .*captured\.jsonl:{named[0]}: "):
            log.read(path)
        return
    found, wrong = log.read(path)
    assert found == {"captured.jsonl": [ENTRY] * sum(good)}
    assert [int(said.split(":")[1]) for said in wrong] == named
