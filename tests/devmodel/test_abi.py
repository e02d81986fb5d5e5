"""Schema against DWARF: agreement of all that is built, and every way to disagree."""

import shutil
import subprocess

import pytest

from vmm.devmodel import layout_block
from vmm.devmodel.abi import AbiMismatch, check_object
from vmm.devmodel.emit_c import struct
from vmm.devmodel.headers import state_layouts
from vmm.devmodel.schema import USER, Block, u32, u64
from vmm.paths import BUILD, ROOT


class Pair(Block, writer=USER):
    first = u32("a number")
    second = u32("another")
    third = u64("a third")


GOOD = struct(layout_block(Pair))
WRONG = {
    "offset": ("struct pair { __u32 second, first; __u64 third; };", "field first at offset 0x4; wanted 0x0"),
    "missing": ("struct pair { __u32 first, reserved; __u64 third; };", "no field second"),
    "extra": ("struct pair { __u32 first, second; __u64 third, fourth; };", "has field fourth"),
    "size": ("struct pair { __u32 first, second; __u64 third; } __attribute__((aligned(32)));",
             "of 0x20 bytes; wanted 0x10"),
    "absent": ("struct other { int x; };", "no struct pair"),
}


def build(tmp_path, declaration, kind, debug="-g"):
    source, target = tmp_path / "a.c", tmp_path / "a.o"
    name = declaration.split("struct ")[1].split()[0]
    source.write_text(f"#include <linux/types.h>\n{declaration}\nstruct {name} it;\n")
    flags = ["clang", "-target", "bpf", "-O2"] if kind == "bpf" else ["gcc"]
    multiarch = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True).stdout.strip()
    subprocess.run([*flags, *([debug] if debug else []), f"-I/usr/include/{multiarch}", "-c", source, "-o", target],
                   check=True)
    return target


@pytest.fixture(params=["native", "bpf"])
def kind(request):
    if request.param == "bpf" and not shutil.which("clang"):
        pytest.skip("no clang on this machine")
    return request.param


def test_agreement(tmp_path, kind):
    assert check_object(build(tmp_path, GOOD, kind), [layout_block(Pair)], ("pair",)) == 1


@pytest.mark.parametrize("declaration, says", WRONG.values(), ids=WRONG)
def test_mismatch(tmp_path, kind, declaration, says):
    path = build(tmp_path, declaration, kind)
    with pytest.raises(AbiMismatch, match=says) as error:
        check_object(path, [layout_block(Pair)], ("pair",))
    assert str(path) in str(error.value)


def test_no_debug_information(tmp_path):
    with pytest.raises(AbiMismatch, match="built with -g"):
        check_object(build(tmp_path, GOOD, "native", debug=""), [layout_block(Pair)])


def test_no_object(tmp_path):
    path = tmp_path / "text"
    path.write_text("not an object")
    with pytest.raises(AbiMismatch, match="wanted an ELF object"):
        check_object(path, [layout_block(Pair)])


@pytest.mark.parametrize("stem", state_layouts())
@pytest.mark.parametrize("suffix", [".bpf.o", ".so"])
def test_what_is_built_agrees(stem, suffix):
    layout = state_layouts()[stem]
    assert check_object(BUILD / (stem + suffix), layout.structs(), (layout.state.c_name,)) > 3


def test_const_for_the_kernel_side(tmp_path):
    """A handler that writes what userspace owns does not compile."""
    from vmm.devmodel.devices.blk import Blk
    from vmm.devmodel.headers import device_header
    header = tmp_path / "blk.h"
    header.write_text(device_header(Blk, "x", prefix=f"{ROOT}/kernel_devices/"))
    source = tmp_path / "a.c"
    source.write_text(f'#include "{header}"\nvoid f(struct blk_state *s) {{ s->disk.capacity = 0; }}\n')
    done = subprocess.run(["gcc", "-fsyntax-only", source], capture_output=True, text=True)
    assert done.returncode and "read-only" in done.stderr
