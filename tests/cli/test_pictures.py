"""`--screenshot` and `--show`: what is drawn is seen, and what cannot be shown is said before anything runs."""

import importlib.util
import os
import shutil
import subprocess
import sys

import pytest

from vmm.cli import pictures
from vmm.cli.main import main
from vmm.paths import ROOT

PIL = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


@pytest.fixture(scope="module")
def blitter(tmp_path_factory, clang, kvm):
    """A copy of the example, built."""
    folder = tmp_path_factory.mktemp("blitter") / "blitter"
    shutil.copytree(ROOT / "examples/blitter", folder, ignore=shutil.ignore_patterns("build", "__pycache__"))
    assert main(["-q", "build", str(folder / "blitter.py")]) == 0
    return folder


def run(blitter, *options: str, keys="offload=host", **how) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "vmm", "-q", "run", "--mem", "64M", "--device",
                           f"{blitter}/blitter.py,{keys}", f"{blitter}/build/guest.elf", *options],
                          text=True, capture_output=True, cwd=ROOT, timeout=60, **how)


def check(image) -> None:
    assert image.size == (640, 480) and image.getpixel((0, 1)) == (0x10, 0x18, 0x28)
    assert image.getpixel((20 + 38, 21)) == (16, 0, 240) and image.getpixel((320, 240)) == (255, 255, 255)


def test_screenshot(blitter, tmp_path):
    done = run(blitter, "--screenshot", f"{tmp_path}/a,,b.png,device=blitter")
    assert (done.returncode, done.stderr) == (0, "")
    check(PIL.open(tmp_path / "a,b.png"))


def test_one_of_several(blitter, tmp_path):
    several = ("--device", f"{blitter}/blitter.py,name=other,offload=off,background=0x0000ff")
    assert "pictures of blitter, other; wanted device= one" in run(
        blitter, *several, "--screenshot", f"{tmp_path}/a.png").stderr
    assert run(blitter, *several, "--screenshot", f"{tmp_path}/a.png,device=other").returncode == 0
    assert PIL.open(tmp_path / "a.png").getpixel((639, 479)) == (0, 0, 255)


def test_a_full_disk_is_told(blitter):
    done = run(blitter, "--screenshot", "/dev/full")
    assert done.returncode == os.EX_IOERR and "/dev/full: No space left" in done.stderr
    assert "488000 pixels" in done.stdout


def test_terminal(blitter):
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", 0) as reader:
        process = subprocess.Popen(
            [sys.executable, "-m", "vmm", "-q", "run", "--device", f"{blitter}/blitter.py,offload=off",
             f"{blitter}/build/guest.elf", "--show", "terminal"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=theirs,
            stdin=subprocess.DEVNULL, env={**os.environ, "COLUMNS": "40", "TERM": "xterm-256color",
                                           "COLORTERM": "truecolor"})
        os.close(theirs)
        said = b""
        try:
            while part := reader.read(4096):
                said += part
        except OSError:     # a terminal's end, once nobody has the other
            pass
        assert process.wait(60) == 0
    lines = said.decode().splitlines()
    assert len(lines) == 15 and all(line.count("▀") == 40 for line in lines) and "38;2;16;" in lines[0]


def test_window(blitter, tmp_path, monkeypatch):
    """A program in the window's place, which is sent what is there in the end."""
    program = tmp_path / "window.py"
    program.write_text("import sys\nframe, all_of_it = int(sys.argv[1]) * int(sys.argv[2]) * 3, "
                       "sys.stdin.buffer.read()\n"
                       f"assert len(all_of_it) % frame == 0\nopen({str(tmp_path / 'last')!r}, 'wb')"
                       ".write(all_of_it[-frame:])\n")
    monkeypatch.setattr(pictures, "WINDOW", program)
    monkeypatch.setattr(pictures, "_can_open_windows", lambda: True)
    assert main(["-q", "run", "--device", f"{blitter}/blitter.py,offload=off", f"{blitter}/build/guest.elf",
                 "--show", "window"]) == 0
    check(PIL.frombytes("RGB", (640, 480), (tmp_path / "last").read_bytes()))


def test_a_window_that_is_closed_ends_nothing(blitter, tmp_path, monkeypatch):
    program = tmp_path / "window.py"
    program.write_text("")
    monkeypatch.setattr(pictures, "WINDOW", program)
    monkeypatch.setattr(pictures, "_can_open_windows", lambda: True)
    assert main(["-q", "run", "--device", f"{blitter}/blitter.py,offload=off", f"{blitter}/build/guest.elf",
                 "--show", "window"]) == 0


@pytest.mark.parametrize("options, says", [
    (["--screenshot", "/nowhere/a.png"], "--screenshot /nowhere/a.png: it cannot be written; wanted a file in a"),
    (["--screenshot", "/"], "--screenshot /: it cannot be written"), (["--screenshot", ""], "wanted key=value"),
    (["--screenshot", "path="], "no file; wanted its name"),
    (["--screenshot", "a,colour=1"], "unknown key 'colour'"),
    (["--screenshot", "/tmp/none,device=disk"], "no picture of 'disk'; wanted one of blitter"),
    (["--show", "nowhere"], "--show 'nowhere'; wanted terminal, window or text"),
    (["--show", "terminal"], "standard error, where it is shown, is no terminal"),
    (["--show", "text"], "--show text: that picture has no characters; wanted a display's (--vga)"),
    (["--show", "window"], "no tkinter, or no $DISPLAY")])
def test_mistakes(blitter, options, says):
    env = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    done = run(blitter, *options, env=env)
    assert done.returncode == os.EX_USAGE and says in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""


def test_no_picture(capsys, kvm):
    assert main(["run", "@echo", "--screenshot", "/tmp/none.png"]) == os.EX_USAGE
    assert "no device here has a picture; wanted --vga std, or one by memory(..., pixels=" in capsys.readouterr().err


def test_no_pillow(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["run", "@echo", "--screenshot", "/tmp/none.png"]) == os.EX_USAGE
    assert "no Pillow here" in capsys.readouterr().err
