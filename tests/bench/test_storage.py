"""File systems and a block device beside each other, which are gone afterwards.

In processes of their own, as each goes to another mount namespace."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.bench.made import row, write
from vmm.bench import saved, storage
from vmm.bench.compare import compare
from vmm.bench.native import binding
from vmm.bench.rows import STORAGES, label
from vmm.cli import main as cli
from vmm.errors import UserError

SPLITVMM = Path(sys.executable).parent / "splitvmm"
HOLD = """
import sys, time
from pathlib import Path
from vmm.bench.storage import IMAGE_BYTES, prepared
with prepared(sys.argv[2].split(","), Path(sys.argv[1])) as found:
    for one in found:
        with open(one.image, "rb") as image:
            print(one.name, one.cache, image.seek(0, 2) == IMAGE_BYTES, one.image, flush=True)
    print("ready", flush=True)
    time.sleep(60)
"""

REFUSED = """
import os
from vmm.bench import native, storage
native.binding()
os.setresuid(65534, 65534, 65534)
storage.prepared(["tmpfs"], None).__enter__()
"""


@pytest.fixture
def loops(kvm):
    """Where loop devices may be made, and file systems mounted."""
    if not Path("/dev/loop-control").exists():
        pytest.skip("no /dev/loop-control on this machine")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespace may be made here")


@pytest.fixture
def here():
    """Those of STORAGES that this kernel and these packages have."""
    known = Path("/proc/filesystems").read_text().split()
    return [name for name in STORAGES if name == "block" or (name in known and (
        name not in storage.MKFS or storage.shutil.which(storage.MKFS[name][0], path="/usr/sbin:/sbin")))]


def held(folder: Path, names: list[str]) -> tuple[subprocess.Popen, list[list[str]]]:
    """A process that has them; and of each its name, its cache, whether its size is right, and where it is."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder, ",".join(names)], stdout=subprocess.PIPE, text=True,
                               env=environment)
    found = []
    for line in process.stdout:
        if line == "ready\n":
            return process, found
        found.append(line.split())
    raise AssertionError(f"status {process.wait()}")


def wait_free(device: str) -> None:
    """Until a loop device has no file any more: the kernel lets go of it a little later."""
    deadline = time.monotonic() + 30
    while Path("/sys/block", Path(device).name, "loop").exists():
        assert time.monotonic() < deadline, f"{device} is still in use"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_all_is_gone_however_it_ends(tmp_path, loops, here, number):
    process, found = held(tmp_path, here)
    try:
        assert [line[:3] for line in found] == [[name, "none" if name == "block" else "writeback", "True"]
                                                for name in here]
        assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
        assert not list(tmp_path.iterdir())     # what they are made of has no name
    finally:
        process.send_signal(number)
        process.wait(60)
        process.stdout.close()
    wait_free(next(line[3] for line in found if line[0] == "block"))
    assert not list(tmp_path.iterdir()) and not Path(found[0][3]).exists()


def test_rows_of_each(tmp_path, loops, here, bpf):
    """Of few requests: a case is enough, and its command line is that of any user."""
    path, script = tmp_path / "rows", tmp_path / "one_case.py"
    script.write_text("import sys\nfrom vmm.bench import blk\nfrom vmm.cli.main import main\n"
                      "blk.QUICK_BLK = blk.QUICK_BLK[:1]\nsys.exit(main(sys.argv[1:]))\n")
    done = subprocess.run([sys.executable, script, "bench", "blk", "--quick", "--repeat", "1", "--on", ",".join(here),
                           "--directory", tmp_path, "--json", path], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text())["rows"]
    assert [(one["storage"], one["mode"]) for one in rows] == [
        (name, mode) for name in here for mode in ("off", "host", "on")]
    assert all(one["handled"] > 0 for one in rows if one["mode"] == "on")
    assert saved.read(path).rows == rows and {one.name for one in tmp_path.iterdir()} == {"rows", "one_case.py"}


@pytest.mark.parametrize("words, says", [
    (["--on", "ext4,btrfs"], "--on 'btrfs'; wanted ext4, xfs, tmpfs or block"),
    (["--on", ""], "--on ''; wanted ext4"), (["--on", "xfs,xfs"], "--on xfs,xfs: xfs given twice")])
def test_what_is_not_known(words, says, capsys):
    assert cli.main(["bench", "blk", *words]) == os.EX_USAGE
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


def test_a_package_that_is_missing(monkeypatch, tmp_path):
    """Said before anything is made."""
    monkeypatch.setattr(storage.shutil, "which", lambda command, path: None if "xfs" in command else "/bin/true")
    monkeypatch.setattr(storage, "_made", pytest.fail)
    with pytest.raises(UserError, match="--on xfs: no mkfs.xfs; wanted the package xfsprogs, or xfs left out"), \
            storage.prepared(["ext4", "xfs"], tmp_path):
        pass


def test_what_may_not_be_made():
    """By a process that may not: `--on` needs root."""
    done = subprocess.run([sys.executable, "-c", REFUSED], capture_output=True, text=True)
    assert ("UserError: --on: a mount namespace: Operation not permitted; wanted CAP_SYS_ADMIN, as root has"
            in done.stderr)


def test_no_loop_device_of_what_is_no_file():
    ffi, lib = binding()
    read, written = os.pipe()
    try:
        assert lib.new_loop(read, ffi.new("int *")) < 0
    finally:
        os.close(read)
        os.close(written)


@pytest.mark.parametrize("name, command, says", [
    ("ext4", ["sh", "-c", "echo no  such >&2; exit 3"], "--on ext4: sh: status 3: no such"),
    ("tmpfs", ["mount", "-t", "no-such", "none", "/proc"], "--on tmpfs: mount: status ")])
def test_a_command_that_fails(name, command, says):
    with pytest.raises(UserError) as error:
        storage._do(name, command)
    assert says in str(error.value)


def test_rows_are_told_apart_by_what_they_are_on(tmp_path):
    rows = [row(), row(storage="ext4"), row(storage="xfs")]
    a, b = (saved.read(write(tmp_path / name, *rows)) for name in "ab")
    assert len(compare(a, b).pairs) == 3
    assert [label(one) for one in rows] == [f"read 4 KiB x1 random{on}" for on in ("", ", on ext4", ", on xfs")]


def test_rows_of_before_were_of_a_folder(tmp_path):
    a, b = (saved.read(write(tmp_path / name, one)) for name, one in (("a", row()), ("b", row(storage=None))))
    assert [pair.verdict for pair in compare(a, b).pairs] == ["within noise"]
