"""The command line: help in whole phrases, errors in one line, no traceback."""

import os
import signal
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from vmm.cli import main as cli
from vmm.cli.run import GUEST_STATUSES
from vmm.paths import BUILD, ROOT


def say(capsys, *arguments):
    """(status, stdout, stderr) of a command, in this process."""
    try:
        status = cli.main([str(a) for a in arguments])
    except SystemExit as end:
        status = end.code
    out = capsys.readouterr()
    return status, out.out, out.err


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["bench", "--help"], ["compile", "--help"],
                                       ["doctor", "--help"], ["completion", "--help"]])
def test_help(capsys, arguments):
    status, out, _ = say(capsys, *arguments)
    assert status == 0 and "splitvmm" in out


def test_version(capsys, monkeypatch):
    """That of pyproject.toml, installed or not."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert say(capsys, "--version") == (0, f"splitvmm {wanted}\n", "")

    def nothing(name):
        raise metadata.PackageNotFoundError(name)
    monkeypatch.setattr(metadata, "version", nothing)
    assert say(capsys, "--version") == (0, f"splitvmm {wanted}\n", "")


@pytest.mark.parametrize("arguments, says", [
    (["run", "guest", "--mem", "lots"], "--mem 'lots'; wanted a size"),
    (["run", "guest", "--cpus", "0"], "--cpus '0'; wanted a whole number from 1 to 64"),
    (["run", "guest", "--disk", "image,none"], "wanted key=value"),
    (["run", "guest", "--disk", "image,serial=abcdefghijklmnopqrstu"], "21 bytes; wanted at most 20"),
    (["run", "guest", "--disk", "image,format=qcow2"], "--disk format 'qcow2'; wanted raw"),
    (["run", "guest", "--serial", "file=a,b"], "'b' behind a comma; wanted nothing, or the comma twice"),
    (["run", "guest", "--machine-ports", "pc"], "--machine-ports 'pc'; wanted test"),
    (["run", "guest", "--console", "file=a,b"], "'b'; wanted key=value"),
    (["compile", "vmm.devmodel.devices.blk:Blk", "-o", "/none/blk.h"], "--output /none/blk.h: No such file"),
    (["run", "guest", "--flat", "here"], "--flat 'here'"),
    (["bench", "blk", "--modes", "fast"], "--modes 'fast'; wanted off, host or on"),
    (["compile", "vmm.devmodel.schema"], "no device; wanted a class derived from"),
    (["compile", "vmm.devmodel.none:Blk"], "wanted a module"),
    (["compile", "vmm.devmodel.devices.blk:None"], "there is no None; wanted one of Blk"),
    (["compile", "vmm.devmodel.devices.blk:Status"], "is no device; wanted one of Blk"),
    (["compile", "none.py"], "there is no such file"),
    (["doc", "vmm.paths"], "no device; wanted a class derived from"),
    (["build", "blk"], "wanted a device's FILE.py"),
    (["new", "Blinker"], "lower-case letters"),
    (["new", "json"], "wanted another name"),
    (["run", "guest", "--device", "blk,speed=3"], "is a schema; wanted its Python half"),
])
def test_mistakes_are_one_line(capsys, arguments, says):
    status, _, err = say(capsys, *arguments)
    assert status == os.EX_USAGE and says in err and err.startswith("splitvmm: ") and err.count("\n") == 1


@pytest.mark.parametrize("arguments, usage", [
    ([], "usage: splitvmm [-h] [--version]"), (["completion", "fish"], "usage: splitvmm completion "),
    (["run", "guest", "--no-such"], "usage: splitvmm run "), (["run", "--mem"], "usage: splitvmm run "),
    (["bench", "blk", "more"], "usage: splitvmm bench "), (["doctor", "all"], "usage: splitvmm doctor "),
    (["compile"], "usage: splitvmm compile ")])
def test_usage_is_that_of_the_command(capsys, arguments, usage):
    """And the status is none that a guest ends with."""
    status, _, err = say(capsys, *arguments)
    assert status == os.EX_USAGE > GUEST_STATUSES and err.startswith(usage)
    assert err.splitlines()[-1].startswith("splitvmm")


@pytest.mark.parametrize("content, says", [
    (None, "No such file or directory"), (b"", "wanted an ELF file"), (b"\x7fELF", "wanted a well-formed ELF"),
    (b"#!/bin/sh\n", "wanted an ELF file")])
def test_guests_that_are_none(capsys, kvm, tmp_path, content, says):
    path = tmp_path / "guest"
    if content is not None:
        path.write_bytes(content)
    status, _, err = say(capsys, "run", path, "--serial", "null")
    assert status == os.EX_USAGE and says in err and err.count("\n") == 1


def test_guest_too_large_for_its_memory(capsys, kvm):
    status, _, err = say(capsys, "run", BUILD / "check.elf", "--mem", "1M", "--serial", "null")
    assert status == os.EX_USAGE and "wanted a run inside 1 MiB of RAM" in err


def test_no_kvm(capsys, monkeypatch):
    from vmm.kvm import vm
    real = vm.open_kvm
    monkeypatch.setattr(vm, "open_kvm", lambda: real("/dev/no-such-kvm"))
    status, _, err = say(capsys, "run", BUILD / "check.elf", "--serial", "null")
    assert status == os.EX_USAGE and "load kvm_intel or kvm_amd" in err and "--executor emulator" in err


def test_no_capability(capsys, kvm, monkeypatch):
    from vmm.kvm.vm import Vm
    real = Vm.capability
    monkeypatch.setattr(Vm, "capability",
                        lambda self, name: 0 if name == "KVM_CAP_READONLY_MEM" else real(self, name))
    status, _, err = say(capsys, "run", BUILD / "check.elf", "--serial", "null")
    assert status == os.EX_USAGE and "KVM_CAP_READONLY_MEM" in err and "newer kernel" in err


def test_compile_prints_the_committed_header(capsys):
    status, out, _ = say(capsys, "compile", "vmm.devmodel.devices.probe:Probe")
    committed = (ROOT / "kernel_devices/probe/probe.gen.h").read_text()
    assert status == 0 and out == committed.replace('"../virtqueue', '"virtqueue')


def test_auto_says_what_it_took_and_why(capsys, kvm, image, monkeypatch):
    from vmm.kvm.bpf import BpfUnavailable
    from vmm.machine import ram

    def none():
        raise BpfUnavailable("no BPF today")
    monkeypatch.setattr(ram, "Maps", none)
    status, _, err = say(capsys, "run", BUILD / "check.elf", "--mem", "64M", "--cmdline", "rounds=1",
                           "--serial", "null", "--disk", f"path={image}")
    assert status == 0 and "disk0: offload host" in err and "no BPF today" in err


def test_on_where_there_is_no_bpf(capsys, kvm, image, monkeypatch):
    from vmm.kvm.bpf import BpfUnavailable
    from vmm.machine import ram

    def none():
        raise BpfUnavailable("no BPF today")
    monkeypatch.setattr(ram, "Maps", none)
    status, _, err = say(capsys, "run", BUILD / "check.elf", "--serial", "null", "--disk", f"path={image},offload=on")
    assert status == os.EX_USAGE and "no BPF today" in err


def test_importing_is_light():
    """Nothing that is slow to import comes with `import vmm` or `--help`."""
    code = ("import sys, vmm, vmm.cli.main\nvmm.cli.main.make_parser()\n"
            "heavy = ('rich', 'shtab', 'importlib.metadata', 'json', 'elftools', 'cffi', 'msgpack', 'vmm.kvm._kvm')\n"
            "print([m for m in heavy if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parent.parent.parent)
    assert done.stdout.strip() == "[]"


SIGNALLED = """
import os, signal, sys, threading, time
from vmm.cli.main import main
from vmm.machine.running import Running

def send():
    time.sleep(0.3)     # until the main thread waits
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
wait = Running.wait
def signal_and_wait(self, *arguments):
    threading.Thread(target=send).start()
    return wait(self, *arguments)
Running.wait = signal_and_wait
sys.exit(main(["run", *sys.argv[2:]]))
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_signal_that_does_not_interrupt_the_main_thread(kvm, name):
    """As when it comes right before that thread waits for the guest."""
    done = subprocess.run([sys.executable, "-c", SIGNALLED, name, BUILD / "echo.elf", "--mem", "2M", "--serial",
                           "null"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 128 + getattr(signal, name) and done.stderr == ""
