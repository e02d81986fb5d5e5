"""Users' programs are checked against our types, as installed."""

import subprocess
import sys

import pytest

from vmm.kit.new import new
from vmm.paths import ROOT

WRONG = {
    "from vmm import Machinery": 'Module "vmm" has no attribute "Machinery"',
    "import vmm\nvmm.MachineConfig(memory='1G')": 'incompatible type "str"; expected "int"',
    "from vmm import RegisterDevice\nRegisterDevice('x').plage": '"RegisterDevice" has no attribute "plage"',
    "from vmm.devmodel.schema import reg\nreg(0, 'u32', 'x')": 'incompatible type "str"; expected "Type"',
    "from vmm.devmodel.schema import Block, regfile\nregfile(0, Block, 'x', stride=8)": 'expected "type[RegisterFile]"',
    "from vmm.device.options import whole\nwhole(1, 0, 9, 'x').upper()": '"int" has no attribute "upper"',
}
# all that a device of one's own may be declared with
DEVICE = '''
import enum
from pathlib import Path

from vmm import RegisterDevice, UserError
from vmm.device.options import choice, path, size, switch, text, whole
from vmm.devmodel.schema import (
    EXACT, KERNEL, NOTIFY, POSTED, RO, Block, Device, RegisterFile, bits_of, enum_of, memory, nested, reg, regfile, u8,
    u32, u64)
from vmm.testing import HANDLED, driven


class Way(enum.IntEnum):
    UP = 0
    DOWN = 1


class Channel(RegisterFile):
    base = reg(0x00, u64, "where", takes=POSTED, halves=True)
    start = reg(0x08, u32, "starts it", takes=NOTIFY)


class Pair(Block):
    flags = bits_of(u32, on=0, way=(1, 2, Way), count=(3, 8))("how")
    way = enum_of(u32, Way)("which")


class Mover(Device, id=0, version=1, widths=EXACT):
    """Moves bytes."""

    control = reg(0x00, u32, "how", bits={"on": 0, "way": (1, 2, Way)})
    table = reg(0x10, u8[8], "bytes", stride=4, takes=POSTED)
    channel = regfile(0x100, Channel, "channels", count=4, stride=0x10)
    canvas = memory(0x1000, 0x1000, "what is moved")

    class Kept(Block, writer=KERNEL):
        pair = nested(Pair)("both")


class MoverDevice(RegisterDevice):
    schema = Mover
    handler = "mover"

    most = whole(10, 1, 100, "how many")
    room = size(4096, "how much")
    loud = switch(False, "whether it says so")
    way = choice("up", ("up", "down"), "where to")
    title = text("", "what it is called")
    log = path(None, "where it says so")
    place_of = path(Path("."), "where it is")

    def on_write_channel_start(self, channel: int, value: int) -> None:
        if value > self.most * self.room or self.log is None:
            raise UserError(self.title + self.way)
        self.page.table[channel] = self.page.channel[channel].base & 0xff
        self.memory.canvas[:4] = self.log.read_bytes()[:4] + self.place_of.read_bytes() * self.loud


def drive() -> bool:
    with driven(MoverDevice("mover", most=7), "host") as mover:
        return mover.write("channel[1].start", 1) == HANDLED
'''


@pytest.fixture(scope="module")
def mypy(installed, tmp_path_factory):
    cache = tmp_path_factory.mktemp("mypy")

    def run(path) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, "-m", "mypy", "--strict", "--python-executable", installed.python,
                               "--cache-dir", cache, path], cwd=installed.elsewhere, capture_output=True, text=True)
    return run


def test_the_example(mypy):
    done = mypy(ROOT / "examples" / "adder" / "adder.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_words(mypy, installed, tmp_path):
    """They are as the checker believes them to be: the declarations are good."""
    path = tmp_path / "mover.py"
    path.write_text(DEVICE)
    for done in (mypy(path), installed.run("python", path)):
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("virtio", [False, True])
def test_what_new_writes(mypy, tmp_path, virtio):
    new("scaler", virtio, tmp_path / "scaler")
    done = mypy(tmp_path / "scaler" / "scaler.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_mistakes(mypy, tmp_path):
    path = tmp_path / "wrong.py"
    for code, says in WRONG.items():
        path.write_text(code + "\n")
        done = mypy(path)
        assert done.returncode == 1 and says in done.stdout, f"{code}: {done.stdout}{done.stderr}"
