"""What authors of devices stumble over: it works, or is told by its name."""

import os
import shutil
from pathlib import Path

import pytest

from tests.kit.test_kit import splitvmm

HERE = Path(__file__).parent
HEAD = "from vmm import RegisterDevice\nfrom vmm.devmodel.schema import *\n"
ODD = HEAD + 'class Odd(Device, id=0, version=1):\n    "None."\n'


@pytest.mark.parametrize("volatile, status", [("", os.EX_USAGE), (" volatile", 0)])
def test_constant_tables_that_clang_merges(clang, tmp_path, volatile, status):
    """They would be refused by the kernel, with words that say nothing of them."""
    for name in ("order.py", "order.c"):
        shutil.copy(HERE / name, tmp_path)
    code = (tmp_path / "order.c").read_text()
    table = f"static const{volatile} __u8 table[8] = {{1, 2, 3, 4, 5, 6, 7, 8}};\n\nstatic __u32 bell"
    (tmp_path / "order.c").write_text(code.replace("static __u32 bell", table, 1).replace(
        "order->page->seen, value", "order->page->seen, table[value & 7]"))
    done = splitvmm("build", "order.py", cwd=tmp_path)
    assert done.returncode == status and ("table: a constant table" in done.stderr) == (not volatile), done.stderr


def test_bits_in_a_register_file_have_masks(tmp_path):
    (tmp_path / "odd.py").write_text(HEAD + """
class Channel(RegisterFile):
    "One."
    control = reg(0, u32, "x", bits={"mode": (0, 2)})
    other = reg(4, bits_of(u32, irq=4), "x")

class Odd(Device, id=0, version=1):
    "None."
    channel = regfile(0x100, Channel, "x", count=4, stride=0x20)
    plain = regfile(0x200, Channel, "x", stride=0x20)
    screen = memory(0x10000, 0x1000, "x")
""")
    said = splitvmm("compile", "odd.py", cwd=tmp_path)
    for line in ("ODD_CHANNEL_CONTROL_MODE = 0x3 << 0,", "ODD_CHANNEL_OTHER_IRQ = 1 << 4,",
                 "ODD_PLAIN_CONTROL_MODE = 0x3 << 0,", "ODD_SCREEN_AT = 0x10000,"):
        assert said.stdout.count(line) == 1, said.stdout + said.stderr


@pytest.mark.parametrize("body, says", [
    ("a = reg(0, u32, 'x', take=POSTED)", "option 'take'; wanted access, takes, reset"),
    ("b = u32", "Odd.b: a type"), ("c: u32", "Odd.c: an annotation alone")])
def test_what_declares_nothing(tmp_path, body, says):
    (tmp_path / "odd.py").write_text(f"{ODD}    {body}\n")
    assert says in splitvmm("doc", "odd.py", cwd=tmp_path).stderr


def test_names_of_the_framework_are_refused(tmp_path):
    (tmp_path / "odd.py").write_text(ODD + "    a = reg(0, u32, 'x')\nclass OddDevice(RegisterDevice):\n"
                                     "    schema = Odd\n    def line(self, a, b):\n        pass\n")
    assert "OddDevice.line: a name that every device has" in splitvmm("doc", "odd.py", cwd=tmp_path).stderr


TESTS = """
from blinker import BlinkerDevice
from vmm.testing import RING_PACKED

def test_name(boot):
    done = boot(BlinkerDevice, "-v", name="of its own")
    assert done.returncode == 64 and "name 'of its own'" in done.stderr

def test_it(drive):
    {body}
"""


@pytest.mark.parametrize("virtio, body", [
    (["--virtio"], "assert drive(BlinkerDevice('blinker'), features=RING_PACKED).declined == {}"),
    ([], "it = drive(BlinkerDevice('blinker')); it.memory.write(64, b'so'); assert it.device.ram.read(64, 2) == b'so'")
], ids=["virtio", "register"])
def test_what_tests_may_use(clang, kvm, tmp_path, virtio, body):
    assert splitvmm("new", "blinker", *virtio, cwd=tmp_path).returncode == 0
    (tmp_path / "blinker" / "test_blinker.py").write_text(TESTS.replace("{body}", body))
    done = splitvmm("test", "blinker.py", cwd=tmp_path / "blinker")
    assert done.returncode == 0, done.stdout + done.stderr


def test_ports(tmp_path, kvm):
    """As many as there are registers, at a place that is said."""
    (tmp_path / "odd.py").write_text(ODD + "    a = reg(0, u32, 'x')\nclass OddDevice(RegisterDevice):\n"
                                     "    schema = Odd\n")
    (tmp_path / "guest.bin").write_bytes(bytes.fromhex("ba0105 66b803000000 66ef ebfe"))   # status 3
    for keys, status, says in (("bus=port", os.EX_USAGE, "bus=port without base; wanted its first port"),
                               ("bus=port,base=0x3f4", 3, ""), ("bus=port,base=0x3f8", os.EX_USAGE, "serial port")):
        done = splitvmm("-q", "run", "--device", f"odd.py,offload=off,{keys}", "guest.bin", "--flat", "0x7c00", "--mem",
                        "1M", cwd=tmp_path)
        assert done.returncode == status and says in done.stderr, done.stderr
