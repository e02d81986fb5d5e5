"""Refusals of the verifier, told with the line of C that they are about."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from tests.handlers import copy_example, make
from tests.kvm.mistakes import MISTAKES
from vmm.errors import UserError
from vmm.kvm.advice import TABLE, advice
from vmm.kvm.bpf import BpfUnavailable, Maps, Object
from vmm.kvm.source_lines import SourceLines
from vmm.kvm.verifier import LogFile, explain, parse, place
from vmm.machine.config import RngConfig
from vmm.paths import ROOT

OLD_LOGS = Path(__file__).parent / "logs-6.1"
BY_NAME = {mistake.name: mistake for mistake in MISTAKES}
each_mistake = pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The example, whose handler is replaced."""
    return copy_example(tmp_path_factory.mktemp("mistakes") / "adder")


@pytest.fixture
def built(folder):
    """Builds a handler with a mistake; returns the object, and the wrong line's number and text."""
    def build(mistake):
        text, number = mistake.source()
        (folder / "adder.c").write_text(text)
        done = make(folder, "build/adder.bpf.o")
        assert done.returncode == 0, done.stderr
        return folder / "build/adder.bpf.o", number, text.splitlines()[number - 1].strip()
    return build


@pytest.fixture
def refused(machine_with, tmp_path):
    """Loads an object as a machine does: what is said of it, and all that libbpf and the kernel said."""
    backend = machine_with(memory=4 << 20, rng=RngConfig(offload="on")).bpf

    def load(path) -> tuple[str, bytes]:
        log = LogFile(tmp_path / "log")
        with pytest.raises(BpfUnavailable) as refusal:
            Object(path, backend.maps, {}, backend._constants(), log).close()
        return str(refusal.value), (tmp_path / "log").read_bytes()
    return load


@each_mistake
def test_mistakes(mistake, built, refused, tmp_path):
    path, number, text = built(mistake)
    first, *more = refused(path)[0].splitlines()
    where = f"adder.c:{number}" if mistake.where else str(path)
    assert first.startswith(f"{where}: ") and re.search(mistake.says, first) and mistake.todo in first
    if mistake.where:
        assert more[0] == f"    {text}"
    if mistake.by:
        assert re.match(rf"    {mistake.by}:\d+: .*\w", more[1])
    if "the verifier refuses it" in first:
        assert more[-1] == f"(the whole log: in {tmp_path}/log)"


@each_mistake
def test_lines_where_the_log_has_the_text_alone(mistake, built, refused):
    """As before Linux 6.8: the object knows which line an instruction is of."""
    path, *_ = built(mistake)
    said, log = refused(path)
    old = re.sub(rb"(?m) @ \S+:\d+$", b"", log)      # its first line may be cut anywhere
    assert b" @ adder.c" not in old
    if b"PROG LOAD LOG" in old:
        assert explain(path, "", old).splitlines()[:-1] == said.splitlines()[:-1]


def test_every_advice_is_for_a_mistake_that_was_made():
    made = {row for mistake in MISTAKES for row in TABLE if mistake.todo in row.todo}
    apart = {"Operation not permitted", "No such file or directory"}       # below
    assert {row.pattern for row in TABLE} - {row.pattern for row in made} == apart


def old_log(name: str) -> str:
    return (OLD_LOGS / f"{name}.log").read_text()


@pytest.mark.parametrize("name, number, words", [
    ("unchecked", 113, ["R0 invalid mem access 'map_value_or_null'"]),
    ("unbounded_index_in_function", 206, [
        "math between map_value pointer and register with unbounded min value is not allowed"]),
    ("beyond", 117, ["invalid access to map value, value_size=72 off=136 size=4",
                     "R0 min value is outside of the allowed memory range"]),
    ("endless", 71, ["infinite loop detected at insn 71"])])
def test_logs_of_linux_6_1(name, number, words, built):
    """The end of what it said; the same handler, built here, has the line."""
    log = parse(old_log(name))
    assert (log.failing(), log.words) == (number, words)
    assert place(log, "device_exit", None) == []
    path, line, text = built(BY_NAME[name])
    found = place(log, "device_exit", SourceLines(path))
    assert [(str(where), where.text) for where in found] == [(f"adder.c:{line}", text)]


def test_line_named_on_another_branch_is_not_taken_for_this_one():
    """The verifier goes back in its log when a branch is done, and names no line twice: what stands above the
    instruction then is another one's."""
    log = parse("; if (ready) @ adder.c:7\n"
                "5: (15) if r1 == 0x0 goto pc+1 7: R0=0 R10=fp0\n"
                "7: (63) *(u32 *)(r0 +64) = r1\n"
                "R0 invalid mem access 'map_value_or_null'\n")
    assert log.failing() == 7 and log.steps[0].source.number == 7 and place(log, "device_exit", None) == []


def test_object_that_is_laid_out_otherwise(built):
    """Its lines are not those of the log: the only line with the same text is, then, or none."""
    path, number, text = built(BY_NAME["unchecked"])
    wrong = "; something else\n12: (bf) r1 = r0\n"
    log = parse(f"{wrong}; {text}\n13: (63) *(u32 *)(r0 +64) = r1\nR0 invalid mem access 'scalar'\n")
    assert [str(line) for line in place(log, "device_exit", SourceLines(path))] == [f"adder.c:{number}"]
    log = parse(f"{wrong}13: (63) *(u32 *)(r0 +64) = r1\nR0 invalid mem access 'scalar'\n")
    assert place(log, "device_exit", SourceLines(path)) == []


def test_object_without_what_was_inlined(built, refused, monkeypatch):
    monkeypatch.setattr(ELFFile, "has_dwarf_info", lambda elf: False)
    path, *_ = built(BY_NAME["unchecked_argument"])
    assert re.match(r"platform_bpf.h:\d+: the verifier refuses it: ", refused(path)[0])


def test_object_that_cannot_be_read(tmp_path):
    """The log says enough by itself, since Linux 6.8."""
    (tmp_path / "adder.bpf.o").write_bytes(b"no ELF")
    said = (b"-- BEGIN PROG LOAD LOG --\n; mine->count = 1; @ adder.c:12\n13: (63) *(u32 *)(r0 +64) = r1\n"
            b"R0 invalid mem access 'map_value_or_null'\n-- END PROG LOAD LOG --\n")
    assert explain(tmp_path / "adder.bpf.o", "", said).splitlines()[:2] == [
        f"adder.c:12: the verifier refuses it: R0 invalid mem access 'map_value_or_null'; {advice('_or_null').todo}",
        "    mine->count = 1;"]


def test_long_log_is_kept_whole(built, refused):
    _, log = refused(built(BY_NAME["long_loop"])[0])
    assert len(log) > 8 << 20 and re.search(rb"LOG --\n0: R1=ctx.*\n", log[:1000])
    assert re.search(rb"too complex\.\n.*\n-- END PROG LOAD LOG --\n", log[-1000:])


@pytest.mark.parametrize("words, todo", [
    ("BPF program is too large. Processed 1000001 insn", "a step function"),
    ("back-edge from insn 5 to 3", "a step function"),
    ("unknown func bpf_redirect#23", "call only functions"),
    ("invalid indirect read from stack R2 off -16+4 size 12", "set a variable"),
    ("invalid read from stack R2 off=-600 size=8", "stay inside what is on the stack"),
    ("R2 unbounded memory access, make sure to bounds check any such access", "bound an offset"),
    ("tail_calls are not allowed when call stack of previous frames is 288 bytes. Too large", "DEVICE_SCRATCH")])
def test_what_other_kernels_say(words, todo):
    assert todo in advice(words).todo


def test_no_permission(bpf_run):
    """Maps, but no programs on tracepoints."""
    code = ("from vmm.kvm.bpf import *; from vmm.paths import BUILD\n"
            "try:\n    Object(BUILD / 'exit_path.bpf.o', Maps(), {}, {})\n"
            "except BpfUnavailable as error:\n    print(error)")
    done = subprocess.run(["setpriv", "--bounding-set", "-perfmon,-sys_admin", sys.executable, "-c", code], cwd=ROOT,
                          capture_output=True, text=True)
    assert re.fullmatch(r".*/exit_path.bpf.o: it cannot be loaded: Operation not permitted; be root, or have CAP_BPF "
                        r"and CAP_PERFMON .*\n", done.stdout), done.stdout + done.stderr


def test_no_object(bpf_run, tmp_path):
    with pytest.raises(BpfUnavailable, match="none.bpf.o: it cannot be loaded: .*No such file.*; "
                       "have `make` build it$"):
        Object(tmp_path / "none.bpf.o", Maps(), {}, {})


def test_log_files(tmp_path):
    path = tmp_path / "log"
    for fresh, after in ((True, b"ab"), (False, b"abab"), (True, b"ab")):
        log = LogFile(path, fresh)
        log.add(b"a")
        log.add(b"b")
        log.close()
        assert path.read_bytes() == after


@pytest.mark.parametrize("path, error", [("/none/log", errno.ENOENT), ("/dev/full", errno.ENOSPC)])
def test_log_file_that_cannot_be_written(path, error):
    with pytest.raises(UserError, match=f"^--verifier-log {path}: {os.strerror(error)}; wanted a file to write$"):
        LogFile(Path(path)).add(b"a")
