"""Recordings whose every item is as the format has it, and says what no machine ever did: each output of `splitvmm
trace` comes of it, in a moment and in little memory."""

import re
import time
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tracefile.made import SERVED, recording
from vmm.bench import saved
from vmm.cli.main import main
from vmm.devmodel.exit_path import Half
from vmm.devmodel.recording import NO_QUEUE, EventKind
from vmm.errors import UserError
from vmm.verify import steps

NUMBER = st.one_of(st.sampled_from([0, 1, 255, 65535, 1 << 31, 1 << 32, 1 << 63, (1 << 64) - 1]), st.integers(0, 100),
                   st.integers(0, (1 << 64) - 1))
OFFSET = st.one_of(st.sampled_from([0x50, 0x70]), NUMBER)
QUEUE = st.one_of(st.integers(0, 3), st.just(NO_QUEUE), NUMBER)
WIDTH = st.sampled_from([0, 1, 2, 4, 8, 1 << 20, 1 << 63])
EVENT = st.tuples(NUMBER, NUMBER, st.integers(0, 3), NUMBER, OFFSET, st.just(0), QUEUE, WIDTH, NUMBER,
                  st.sampled_from([int(half) for half in Half]), st.sampled_from([int(kind) for kind in EventKind]))
OUTPUTS = {"lines": [], "json": ["--json"], "summary": ["--summary"], "summary as json": ["--summary", "--json"],
           "chrome": ["--chrome", "out.json"], "svg": ["--picture", "out.svg"]}
MOST_S, MOST_MEMORY = 2.0, 64 << 20     # of one recording


@pytest.mark.parametrize("output", OUTPUTS)
def test_what_no_machine_did(tmp_path, monkeypatch, capsys, output):
    monkeypatch.chdir(tmp_path)
    main(["trace", "missing", *OUTPUTS[output]])        # imports are not what is measured

    @settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(EVENT.map(list), max_size=12), st.booleans())
    def told(events, in_order):
        if in_order:
            events = sorted(events)
        (tmp_path / "run.rec").write_bytes(recording(*SERVED[:3], *events))
        began = time.process_time()
        tracemalloc.start()
        try:
            status = main(["trace", "run.rec", *OUTPUTS[output]])
            assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
        finally:
            tracemalloc.stop()
        assert time.process_time() - began < MOST_S
        said = capsys.readouterr()
        assert status == 0 or re.search(r"wanted", said.err)
    told()


@pytest.mark.parametrize("read", [saved.read, steps.load])
@pytest.mark.parametrize("data", [b"\xff\xfe\0", b"[" * 100_000, b'{"a":' * 100_000, b"\xef\xbb\xbf{}", b"1" * 10_000,
                                  b"NaN", b"\0\0\0{", b'"\\ud800"', b"[1e999999]", b""])
def test_json_that_is_none_of_ours(tmp_path, read, data):
    (tmp_path / "it").write_bytes(data)
    with pytest.raises(UserError, match="wanted"):
        read(tmp_path / "it")


@pytest.mark.parametrize("read", [saved.read, steps.load])
def test_json_without_an_end(tmp_path, read):
    (tmp_path / "it").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="it: File too large; wanted"):
        read(tmp_path / "it")
