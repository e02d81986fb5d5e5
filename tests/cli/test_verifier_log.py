"""`splitvmm run` with a handler that the verifier refuses."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from vmm.paths import BUILD, ROOT

CHECK = "\tif (!status)\n\t\treturn reason;\n"


@pytest.fixture(scope="module")
def wrong(tmp_path_factory):
    """A folder of what is built, whose handler of disks does not check what ram_at() returned; and the number of
    the line where it uses that."""
    folder = tmp_path_factory.mktemp("wrong")
    shutil.copytree(ROOT / "kernel_devices", folder / "kernel_devices")
    source = folder / "kernel_devices/blk/blk_work.h"
    text = source.read_text()
    assert text.count(CHECK) == 1
    source.write_text(text.replace(CHECK, ""))
    (folder / "build").mkdir()
    for built in BUILD.iterdir():
        (folder / "build" / built.name).symlink_to(built.resolve())
    for name in ("blk.bpf.o", "blk.bpf.o.abi"):
        (folder / "build" / name).unlink(missing_ok=True)
    commands = subprocess.run(["make", "-n", "-B", "build/blk.bpf.o"], cwd=ROOT, capture_output=True, text=True,
                              check=True).stdout
    compiler, = (line for line in commands.splitlines() if " -target bpf " in line)
    subprocess.run(compiler, shell=True, cwd=folder, check=True)
    return folder / "build", text[:text.index(CHECK)].count("\n") + 1


@pytest.fixture
def run(wrong, kvm, bpf_run, image):
    """Runs a guest with a disk in this mode."""
    def run(mode, *options) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "vmm", "run", BUILD / "check.elf", "--mem", "64M", "--cmdline", "rounds=1",
             "--serial", "null", "--disk", f"path={image},offload={mode}", *options],
            cwd=ROOT, capture_output=True, text=True, env={**os.environ, "SPLITVMM_BUILD": str(wrong[0])}, timeout=120)
    return run


def test_refused(run, wrong, tmp_path):
    done = run("on", "--verifier-log", tmp_path / "log")
    first, source, kept = done.stderr.splitlines()
    assert done.returncode == os.EX_USAGE
    assert re.match(rf"splitvmm: blk_work.h:{wrong[1]}: the verifier refuses it: R\d invalid mem access 'scalar'; use "
                    r"ram_at\(\) for an address of the guest", first)
    assert (source, kept) == ("    WRITE_ONCE(*status, STATUS_OK);", f"(the whole log: in {tmp_path}/log)")
    assert "invalid mem access" in (tmp_path / "log").read_text()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="on one CPU, auto does not try the handler")
def test_refused_and_done_without(run, wrong, tmp_path):
    """With offload=auto the device is served otherwise, and the log is written all the same."""
    (tmp_path / "log").write_text("of an earlier run")
    done = run("auto", "--verifier-log", tmp_path / "log")
    warning, choice = (line for line in done.stderr.splitlines() if "disk0" in line)
    assert done.returncode == 0, done.stderr
    assert f"blk_work.h:{wrong[1]}: the verifier refuses it" in warning and "its handler is not used" in warning
    assert "disk0: offload host, the best possible; on not possible: blk_work.h" in choice
    log = (tmp_path / "log").read_text()
    assert log.startswith("libbpf: ") and "END PROG LOAD LOG" in log and "an earlier run" not in log


def test_hint_where_no_log_is_kept(run):
    assert run("on").stderr.splitlines()[-1].startswith("(the whole log: --verifier-log FILE")


@pytest.mark.parametrize("path, says", [("/none/log", "No such file or directory"),
                                        ("/dev/full", "No space left on device")])
@pytest.mark.parametrize("mode", ["on", "auto"])
def test_log_that_cannot_be_written(run, mode, path, says):
    done = run(mode, "--verifier-log", path)
    assert done.returncode == os.EX_USAGE
    assert done.stderr == f"splitvmm: --verifier-log {path}: {says}; wanted a file to write\n"
