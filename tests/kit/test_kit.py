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


@pytest.fixture(scope="module", params=[[], ["--virtio"]], ids=["register", "virtio"])
def written(request, clang, tmp_path_factory):
    """The folder of a new device, built."""
    where = tmp_path_factory.mktemp("new")
    done = splitvmm("new", "blinker", *request.param, cwd=where)
    assert done.returncode == 0, done.stderr
    assert splitvmm("build", "blinker/blinker.py", cwd=where).returncode == 0
    return where / "blinker"


# What building does, and what is said of mistakes, is one for both.
register_alone = pytest.mark.parametrize("written", [[]], ids=["register"], indirect=True)


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


@register_alone
def test_nothing_is_built_twice(written):
    assert splitvmm("build", "blinker.py", cwd=written).stdout == "nothing to build\n"


@register_alone
@pytest.mark.parametrize("touched, built", [
    ("blinker.c", ["blinker.bpf.o", "blinker.so"]), ("guest.c", ["guest.elf"]), ("blinker.py", [])])
def test_what_is_out_of_date_is_built(written, touched, built):
    (written / touched).touch()
    said = splitvmm("build", "blinker.py", cwd=written).stdout
    assert said == ("".join(f"building build/{name}\n" for name in built) or "nothing to build\n")


def test_a_header_of_the_framework_is_a_dependency(written, tmp_path):
    """Found where the compiler says that it was read."""
    for target, header in (("blinker.bpf.o", "platform_bpf.h"), ("blinker.so", "platform_native.h"),
                           ("guest.elf", "guest.h"), ("guest.elf", "start.S"), ("blinker.so", "blinker.gen.h")):
        names = json.loads((written / "build" / f".{target}.made").read_text())["files"]
        assert header in [Path(name).name for name in names], (target, names)


def test_names_with_blanks_in_rules():
    from vmm.kit.build import _dependencies
    assert _dependencies("a.o: a\\ b.c \\\n  c.h\nd.o: e.c\n") == ["a b.c", "c.h", "e.c"]
    assert _dependencies("a.o: c\\#\\ $$x.c\n") == ["c# $x.c"]


@register_alone
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
    *((["new", name], "wanted another name") for name in ("entry", "verdict", "linux", "value", "test_x", "print")),
    (["new", "a__b"], "wanted underscores between words alone"),
    (["run", "--device", "", "g"], "''; wanted FILE.py, package.module:CLASS"),
    (["run", "--device", ".py", "g"], "no name of a module"),
    (["run", "--device", "my.dev.py", "g"], "no name of a module"),
    (["new", "a", "--directory", "/proc/none"], "wanted a folder to be made"),
    (["build", "none.py"], "there is no such file"),
    (["build", "blinker/test_blinker.py"], "no device; wanted a class derived from"),
    (["test", "blinker/blinker.py:Nobody"], "there is no Nobody; wanted one of BlinkerDevice, Blinker"),
    (["run", "--device", "blinker/blinker.py,speed=3", "g"],
     "unknown key 'speed'; wanted one of offload,"),
    (["run", "--device", "blinker/blinker.py,base", "g"], "'base'; wanted key=value"),
    (["run", "--device", "blinker/blinker.py,offload=fast", "g"], "--device offload 'fast'"),
    (["run", "--device", "blinker/blinker.py:Blinker", "g"], "Blinker is a schema; wanted its Python half"),
    (["run", "--device", "broken.py", "g"], "broken.py:3: SyntaxError: "),
    (["run", "--device", "failing.py", "g"], "failing.py:2: ZeroDivisionError: division by zero"),
    (["doc", "schema.py"], "Alone.a: offset 0x1; wanted a multiple of its width, 4"),
    (["build", "wrong.py"], "Wrong.a: offset 0x1; wanted a multiple of its width, 4"),
    (["build", "lost.py"], "lost.c: there is no such file; wanted the handler that a class there names"),
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


@register_alone
@pytest.mark.parametrize("arguments, says", MISTAKES, ids=[says for _, says in MISTAKES])
def test_mistakes_are_one_line(written, arguments, says):
    for name, text in FILES.items():
        (written.parent / name).write_text(text)
    done = splitvmm(*arguments, cwd=written.parent)
    assert done.returncode == os.EX_USAGE and says in done.stderr and done.stderr.count("\n") == 1, done.stderr


@register_alone
def test_builds_in_one_folder_take_turns(written, tmp_path):
    copy = shutil.copytree(written, tmp_path / "blinker", ignore=shutil.ignore_patterns("build"))
    both = [subprocess.Popen([sys.executable, "-m", "vmm", "build", "blinker.py"], cwd=copy, text=True,
                             env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE) for _ in range(3)]
    said = [process.communicate(timeout=HANG_S)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0, 0]
    assert sorted(said)[1:] == ["nothing to build\n"] * 2 and "building build/blinker.so" in min(said)


@register_alone
def test_what_is_up_to_date_takes_no_compiler(written, kvm):
    (written.parent / "bin").mkdir(exist_ok=True)
    for line, status in ((["build", "blinker.py"], 0),
                         (["run", "--device", "blinker.py,offload=host", "build/guest.elf"], 0)):
        done = splitvmm(*line, cwd=written, PATH=str(written.parent / "bin"))
        assert done.returncode == status and "not here" not in done.stderr, done.stderr


@register_alone
def test_run_builds_what_it_needs(written, tmp_path, kvm):
    """Not the guest that lies beside the device, if it runs another one; of the handlers that of the mode."""
    copy = shutil.copytree(written, tmp_path / "blinker", ignore=shutil.ignore_patterns("build"))
    (copy / "guest.c").write_text("no C")
    shutil.copy(written / "build" / "guest.elf", tmp_path / "other.elf")
    done = splitvmm("run", "--device", "blinker.py,offload=host", "../other.elf", cwd=copy)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (copy / "build").glob("blinker.*o")] == ["blinker.so"]


@register_alone
def test_a_record_that_says_nothing_is_none(written, tmp_path):
    copy = shutil.copytree(written, tmp_path / "blinker")
    assert splitvmm("build", "blinker.py", cwd=copy).returncode == 0
    (copy / "build" / ".blinker.so.made").write_text("")
    assert splitvmm("build", "blinker.py", cwd=copy).stdout == "building build/blinker.so\n"


@register_alone
def test_a_class_from_another_folder_is_built_there(written, tmp_path):
    copy = shutil.copytree(written, tmp_path / "blinker", ignore=shutil.ignore_patterns("build"))
    (other := tmp_path / "far").mkdir()
    (other / "far.py").write_text(f"import sys\nsys.path.insert(0, {str(copy)!r})\n"
                                  "from blinker import BlinkerDevice\nclass Mine(BlinkerDevice):\n    pass\n")
    for spec in ("far.py:Mine", "far.py:BlinkerDevice"):
        shutil.rmtree(copy / "build", ignore_errors=True)
        done = splitvmm("build", spec, cwd=other)
        assert done.returncode == 0 and "building ../blinker/build/blinker.bpf.o" in done.stdout, done.stderr


@register_alone
def test_a_folder_with_a_colon(written, tmp_path):
    copy = shutil.copytree(written, tmp_path / "a:b", ignore=shutil.ignore_patterns("build"))
    assert splitvmm("build", copy / "blinker.py", cwd=tmp_path).returncode == 0
    assert splitvmm("doc", f"{copy / 'blinker.py'}:Blinker", cwd=tmp_path).stdout.startswith("# Blinker")


def test_a_full_disk_leaves_no_half_of_a_device(tmp_path, monkeypatch):
    from vmm.errors import UserError
    from vmm.kit.new import new
    write, left = Path.write_text, [2]

    def full(path, text):
        left[0] -= 1
        if not left[0]:
            raise OSError(28, "No space left on device")
        return write(path, text)
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match="No space left"):
        new("blinker", False, tmp_path / "blinker")
    assert not (tmp_path / "blinker").exists()


DEVICE = """
from vmm import RegisterDevice
from vmm.devmodel.schema import *

class Odd(Device, id=0, version=1):
    \"\"\"None.\"\"\"
    bell = reg(0, u32, "rings")

class OddDevice(RegisterDevice):
    schema = Odd
    def attach(self, place):
        super().attach(place)
        {attach}
    def on_write_bell(self, value):
        {bell}
    def close(self):
        {close}
"""


@pytest.mark.parametrize("where, line", [("attach", 13), ("bell", 15), ("close", 17)])
@pytest.mark.parametrize("code, says", [
    ("1 / 0", "ZeroDivisionError: division by zero"), ("raise SystemExit(7)", "SystemExit: 7"),
    ("raise RuntimeError('mine')", "RuntimeError: mine"), ("raise BrokenPipeError", "BrokenPipeError"),
    ("open('/nowhere')", "FileNotFoundError")])
def test_what_a_device_raises_is_told_with_its_place(tmp_path, kvm, where, line, code, says):
    given = {name: code if name == where else "pass" for name in ("attach", "bell", "close")}
    (tmp_path / "odd.py").write_text(DEVICE.format(**given))
    guest = tmp_path / "guest.bin"      # real mode: 1 to the word at ffff:0010, which is 1 MiB; then the status 3
    guest.write_bytes(bytes.fromhex("b8ffff 8ed8 c70610000100 ba0105 66b803000000 66ef ebfe"))
    done = splitvmm("run", "--device", "odd.py,offload=off,base=0x100000", guest, "--flat", "0x7c00", "--mem", "1M",
                    cwd=tmp_path)
    assert done.returncode == os.EX_SOFTWARE, done.stderr
    assert f"odd.py:{line}: {says}" in done.stderr and "Traceback" not in done.stderr


@register_alone
def test_a_handler_without_a_device_is_no_traceback(written, tmp_path, kvm):
    copy = shutil.copytree(written, tmp_path / "blinker")
    (copy / "blinker.c").write_text('#include "blinker.gen.h"\n')
    done = splitvmm("run", "--device", "blinker.py,offload=host", "build/guest.elf", cwd=copy)
    assert done.returncode == os.EX_USAGE and "Traceback" not in done.stderr and "blinker.so: no " in done.stderr


@register_alone
def test_c_that_does_not_build_is_told_with_its_place(written, tmp_path):
    copy = shutil.copytree(written, tmp_path / "blinker")
    (copy / "blinker.c").write_text((copy / "blinker.c").read_text() + "\nint x = y;\n")
    done = splitvmm("build", "blinker.py", cwd=copy)
    assert done.returncode == os.EX_USAGE and "blinker.c: does not build\n" in done.stderr and "error: " in done.stderr
    assert not list((copy / "build").glob(".*.new"))


@register_alone
def test_no_clang(written, tmp_path):
    """Nothing is built, and off needs nothing."""
    copy = shutil.copytree(written, tmp_path / "blinker")
    (copy / "blinker.c").touch()
    (tmp_path / "bin").mkdir()
    done = splitvmm("build", "blinker.py", cwd=copy, PATH=str(tmp_path / "bin"))
    assert done.returncode == os.EX_USAGE
    assert "not here: clang, which builds the kernel's half of devices" in done.stderr
    assert "apt-get install clang gcc" in done.stderr


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
