"""`splitvmm new`, `build`, `run --device`, `test` and `doc`, as a user gives them."""

import json
import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from vmm.devmodel.headers import devices
from vmm.kit.doc import html, markdown
from vmm.kit.load import named
from vmm.paths import ROOT

HANG_S = 120
HERE = Path(__file__).parent


def splitvmm(*arguments, cwd, **environment) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "vmm", *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, timeout=HANG_S)


@pytest.fixture(scope="module")
def clang():
    if not shutil.which("clang"):
        pytest.skip("no clang on this machine")


@pytest.fixture(scope="module", params=[[], ["--virtio"]], ids=["register", "virtio"])
def written(request, clang, tmp_path_factory):
    """The folder of a new device, built."""
    where = tmp_path_factory.mktemp("new")
    done = splitvmm("new", "blinker", *request.param, cwd=where)
    assert done.returncode == 0, done.stderr
    assert splitvmm("build", "blinker/blinker.py", cwd=where).returncode == 0
    return where / "blinker"


def test_a_new_device_passes_its_tests(written):
    done = splitvmm("test", "blinker.py", "--", "-q", cwd=written)
    assert done.returncode == 0 and " passed" in done.stdout and "failed" not in done.stdout, done.stdout + done.stderr


def test_a_new_device_runs(written, mode, kvm):
    counters = written / f"{mode}.json"
    done = splitvmm("run", "--device", f"blinker.py,offload={mode}", "build/guest.elf", "--mem", "32M",
                    f"--stats=json,file={counters}", cwd=written)
    assert done.returncode == 0 and "all is well" in done.stdout, done.stdout + done.stderr
    total = json.loads(counters.read_text())["devices"][0]["total"]
    assert total["user_handled"] > 0 and (total["handled"] > 0) == (mode != "off")


def test_nothing_is_built_twice(written):
    assert splitvmm("build", "blinker.py", cwd=written).stdout == "nothing to build\n"


@pytest.mark.parametrize("touched, built", [
    ("blinker.c", ["blinker.bpf.o", "blinker.so"]), ("guest.c", ["guest.elf"]), ("blinker.py", [])])
def test_what_is_out_of_date_is_built(written, touched, built):
    (written / touched).touch()
    said = splitvmm("build", "blinker.py", cwd=written).stdout
    assert said == ("".join(f"building build/{name}\n" for name in built) or "nothing to build\n")


def test_a_header_of_the_framework_is_a_dependency(written, tmp_path):
    """Found where the compiler says that it was read."""
    from vmm.kit.build import _beside, _dependencies
    for target, header in (("blinker.bpf.o", "platform_bpf.h"), ("blinker.so", "platform_native.h"),
                           ("guest.elf", "guest.h"), ("guest.elf", "start.S"), ("blinker.so", "blinker.gen.h")):
        names = _dependencies(_beside(written / "build" / target, "d").read_text())
        assert header in [Path(name).name for name in names], (target, names)


def test_names_with_blanks_in_rules():
    from vmm.kit.build import _dependencies
    assert _dependencies("a.o: a\\ b.c \\\n  c.h\nd.o: e.c\n") == ["a b.c", "c.h", "e.c"]


def test_a_changed_schema_is_built(written, tmp_path):
    copy = shutil.copytree(written, tmp_path / "blinker")
    code = (copy / "blinker.py").read_text()
    (copy / "blinker.py").write_text(code.replace("reasons(", 'reasons(LATER="it is late", '))
    said = splitvmm("build", "blinker.py", cwd=copy).stdout.splitlines()
    assert said[:3] == ["building build/blinker.gen.h", "building build/blinker.bpf.o", "building build/blinker.so"]


MISTAKES = [
    (["new", "blinker"], "is there already; wanted a folder to be made"),
    (["new", "9lives"], "lower-case letters, digits and underscores"),
    (["new", "register"], "no keyword of C or Python"),
    (["new", "blk"], "wanted another name"),
    (["new", "a", "--directory", "/proc/none"], "wanted a folder to be made"),
    (["build", "none.py"], "there is no such file"),
    (["build", "blinker/test_blinker.py"], "no device; wanted a class derived from"),
    (["test", "blinker/blinker.py:Nobody"], "there is no Nobody; wanted one of BlinkerDevice, Blinker"),
    (["run", "--device", "blinker/blinker.py,speed=3", "g"],
     "unknown key 'speed'; BlinkerDevice has no options of its own"),
    (["run", "--device", "blinker/blinker.py,base", "g"], "'base'; wanted key=value"),
    (["run", "--device", "blinker/blinker.py,offload=fast", "g"], "--device offload 'fast'"),
    (["run", "--device", "blinker/blinker.py:Blinker", "g"], "Blinker is a schema; wanted its Python half"),
    (["run", "--device", "broken.py", "g"], "broken.py:3: SyntaxError: "),
    (["run", "--device", "failing.py", "g"], "failing.py:2: ZeroDivisionError: division by zero"),
    (["doc", "schema.py"], "Alone.a: offset 0x1; wanted a multiple of its width, 4"),
    (["build", "wrong.py"], "Wrong.a: offset 0x1; wanted a multiple of its width, 4"),
    (["build", "lost.py"], "lost.c: there is no such file; wanted the handler that lost.py names"),
    (["doc", "nothing"], "No module named 'nothing'"),
]
DECLARED = """from vmm import RegisterDevice
from vmm.devmodel.schema import Device, reg, u32


class {name}(Device, id=0, version=1):
    \"""A device.\"""
    a = reg({offset}, u32, "x")


class Half(RegisterDevice):
    schema = {name}
    handler = "{handler}"
"""
FILES = {
    "broken.py": "import vmm\n\nclass (", "failing.py": "import vmm\n1 / 0\n",
    "wrong.py": DECLARED.format(name="Wrong", offset=1, handler=""),
    "schema.py": DECLARED.format(name="Alone", offset=1, handler="").partition("class Half")[0],
    "lost.py": DECLARED.format(name="Lost", offset=0, handler="lost"),
}


@pytest.mark.parametrize("arguments, says", MISTAKES, ids=[says for _, says in MISTAKES])
def test_mistakes_are_one_line(written, arguments, says):
    for name, text in FILES.items():
        (written.parent / name).write_text(text)
    done = splitvmm(*arguments, cwd=written.parent)
    assert done.returncode == os.EX_USAGE and says in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_c_that_does_not_build_is_told_with_its_place(written, tmp_path):
    copy = shutil.copytree(written, tmp_path / "blinker")
    (copy / "blinker.c").write_text((copy / "blinker.c").read_text() + "\nint x = y;\n")
    done = splitvmm("build", "blinker.py", cwd=copy)
    assert done.returncode == os.EX_USAGE and "blinker.c: does not build\n" in done.stderr and "error: " in done.stderr
    assert not list((copy / "build").glob(".*.new"))


def test_no_clang(written, tmp_path):
    """Nothing is built, and off needs nothing."""
    copy = shutil.copytree(written, tmp_path / "blinker")
    (copy / "blinker.c").touch()
    (tmp_path / "bin").mkdir()
    done = splitvmm("build", "blinker.py", cwd=copy, PATH=str(tmp_path / "bin"))
    assert done.returncode == os.EX_USAGE and "no clang here, which builds the kernel's half of devices" in done.stderr


def test_doorbells_without_a_function_do_not_build(clang, tmp_path):
    """And no function is for what is no doorbell."""
    for name in ("gadget.py", "gadget.c"):
        shutil.copy(HERE / name, tmp_path)
    code = (tmp_path / "gadget.c").read_text()
    for wrong, says in ((code.replace("ON(GADGET_WIDE, wide) ", ""), "enumeration value .GADGET_WIDE. not handled"),
                        (code.replace("DEVICE(", "DEVICE(ON(GADGET_X, wide) "), "GADGET_X|not in enum")):
        (tmp_path / "gadget.c").write_text(wrong)
        done = splitvmm("build", "gadget.py", cwd=tmp_path)
        assert done.returncode == os.EX_USAGE and pytest.importorskip("re").search(says, done.stderr), done.stderr


@pytest.mark.parametrize("example", ["blitter"])
def test_examples_pass_their_tests(clang, tmp_path, example):
    copy = shutil.copytree(ROOT / "examples" / example, tmp_path / example,
                           ignore=shutil.ignore_patterns("build", "__pycache__"))
    done = splitvmm("test", f"{example}.py", "--", "-q", cwd=copy)
    assert done.returncode == 0 and "failed" not in done.stdout, done.stdout + done.stderr


# doc

def test_doc_has_all_that_there_is(gadget):
    text = markdown(gadget.Gadget, gadget.GadgetDevice)
    rows = [line for line in text.splitlines() if line.startswith("| `0x")]
    assert "| `0x008` | `command` | 4 | write | the handler | `0x0` | does it; latches `x`, `y` |" in rows
    assert ("| `0x114` | `channel[0].ring[0].tail` | 2 | read, write | the handler | `0x0` | adds what is written to "
            "head |") in rows
    for word in ("5-4 | `mode` | 0 FAST, 2 SLOW", "`canvas` | 0x3000", "`channel` | `0x100` | `0x30` | 3", "`TOO_MUCH`",
                 "`shape` | round\\|square | round", "| `2` | PAINT |", "`kept` | kernel | `paints`"):
        assert word in text, word


class Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.open = [], []

    def handle_starttag(self, tag, attributes):
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag or tag == "html"

    def handle_data(self, data):
        if "td" in self.open:
            self.found.append(data)


def test_doc_as_html_has_the_same(gadget):
    parser = Cells()
    parser.feed(html(gadget.Gadget, gadget.GadgetDevice))
    assert {"channel[0].ring[0].tail", "SLOW", "0x3000"} <= set(" ".join(parser.found).replace(",", "").split())


@pytest.mark.parametrize("name", devices())
def test_doc_of_our_own(name):
    assert markdown(named(name).schema).startswith("# ")
