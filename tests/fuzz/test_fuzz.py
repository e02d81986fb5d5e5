"""The native handlers under libFuzzer: the corpus once more, and some thousand new inputs, the same in each run."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tools.fuzz.__main__ import fuzz, main
from tools.fuzz.targets import TARGETS, Target, build
from vmm.errors import UserError
from vmm.paths import ROOT

NEW_INPUTS = 2000   # of each device, besides the corpus


@pytest.fixture(scope="session")
def libfuzzer():
    """clang, with its libraries of sanitizers."""
    clang = shutil.which("clang") or shutil.which("clang-19")
    if not clang:
        pytest.skip("no clang on this machine")
    empty = subprocess.run([clang, "-fsanitize=fuzzer,address", "-xc", "-", "-o", "/dev/null"], capture_output=True,
                           text=True, input="int LLVMFuzzerTestOneInput(const char *d, long n) { return 0; }")
    if empty.returncode:
        pytest.skip(f"no libFuzzer on this machine: {empty.stderr.splitlines()[0]}")


@pytest.fixture(scope="session")
def built(libfuzzer, tmp_path_factory) -> Path:
    """The harnesses, with no inputs of earlier runs beside them."""
    build(TARGETS)
    folder = tmp_path_factory.mktemp("fuzz")
    for name in TARGETS:
        (folder / name).symlink_to(ROOT / "build/fuzz" / name)
    return folder


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found(built, name):
    target = Target(name, built)
    known = len(target.inputs())
    inputs, _corpus, _edges, why = fuzz(target, known + NEW_INPUTS, seed=1)
    assert not why, why
    assert inputs >= known + NEW_INPUTS


def test_a_fault_is_found_and_told_as_steps(libfuzzer, tmp_path):
    """A handler whose used entries are a place late."""
    handlers = shutil.copytree(ROOT / "kernel_devices", tmp_path / "handlers")
    rings = handlers / "split_ring.h"
    good = rings.read_text()
    bad = good.replace("queue->position.next_used & (queue->setup.size - 1)",
                       "(queue->position.next_used + 1) & (queue->setup.size - 1)")
    assert bad != good
    rings.write_text(bad)
    build(["rng"], f"FUZZ_HANDLERS={handlers}", f"FUZZ_INTO={tmp_path}")
    target = Target("rng", tmp_path)
    *_, why = fuzz(target, len(target.inputs()) + NEW_INPUTS, seed=1)
    assert re.search(r"^defect: the handler wrote at \S+, which is not the device's to write", why, re.MULTILINE), why
    assert re.search(r"^ +\d+ REQUEST +queue \d+", why, re.MULTILINE)
    assert re.search(r"^replay: .* rng --replay ", why, re.MULTILINE)


@pytest.mark.parametrize("arguments, message", [
    (["disk"], "disk: no such device; wanted one of blk, "),
    (["--runs", "0"], "--runs: found 0; wanted 1 or more"),
    (["blk", "--replay", "none"], "--replay: found none and 1 devices; wanted a file"),
])
def test_mistakes(arguments, message):
    with pytest.raises(UserError, match=re.escape(message)):
        main(arguments)


def test_corpus_that_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(Target, "committed", property(lambda self: tmp_path / "blk.txt"))
    (tmp_path / "blk.txt").write_text("00\nxyz\n")
    with pytest.raises(UserError, match="wanted an input in hexadecimal a line"):
        Target("blk").inputs()
