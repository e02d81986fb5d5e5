"""Standard streams that are closed, full or gone, and few descriptors: a line at most, and the guest goes on."""

import argparse
import os
import resource
import signal
import subprocess
import time

import pytest

from tests.cli.started import SPLITVMM, start
from vmm.cli.main import main
from vmm.devmodel.device_layout import layout_device
from vmm.devmodel.devices.rng import Rng
from vmm.offload import objects
from vmm.paths import BUILD

TIMEOUT_S = 60


def shell(line: str, **options):
    return subprocess.run(["bash", "-c", line.replace("SPLITVMM", str(SPLITVMM))], capture_output=True, text=True,
                          timeout=TIMEOUT_S, cwd=BUILD, **options)


@pytest.mark.parametrize("streams, says", [
    ("> /dev/full", "No space left on device"), (">&-", "Bad file descriptor"), ("2>&-", ""), ("2> /dev/full", ""),
    ("--serial file=/dev/full", "No space left on device")])
def test_a_guest_whose_output_cannot_be_written_goes_on(kvm, streams, says):
    done = shell(f"echo there | SPLITVMM run echo.elf --mem 2M --serial stdio {streams}"
                 if "--serial" not in streams else "SPLITVMM run real_mode.bin --flat 0x7c00 --mem 1M " + streams)
    assert done.returncode == (7 if "--serial" in streams else 3)
    assert says in done.stderr and done.stderr.count("output is lost") == bool(says)
    assert "Traceback" not in done.stderr


def test_closed_input_has_ended(kvm):
    """And its number is nothing else's."""
    done = shell("SPLITVMM run real_mode.bin --flat 0x7c00 --mem 1M --serial stdio <&-")
    assert (done.returncode, done.stdout, done.stderr) == (7, "real\n", "")


@pytest.mark.parametrize("line, status", [
    ("SPLITVMM doctor > /dev/full", os.EX_IOERR), ("SPLITVMM doctor >&-", os.EX_IOERR),
    ("SPLITVMM compile vmm.devmodel.devices.blk:Blk > /dev/full", os.EX_IOERR),
    ("SPLITVMM doctor | true", 0), ("SPLITVMM compile vmm.devmodel.devices.blk:Blk | head -1", 0)])
def test_commands_whose_output_cannot_be_written(line, status):
    done = shell(line)
    assert done.returncode == status and "Traceback" not in done.stderr and done.stderr.count("\n") <= 1


@pytest.mark.parametrize("streams", ["2> /dev/full", "2>&-"])
@pytest.mark.parametrize("line, status", [
    ("run nosuch", os.EX_USAGE), ("run --bogus x", os.EX_USAGE), ("bench compare nosuch nosuch", os.EX_USAGE),
    ("run -v real_mode.bin --flat 0x7c00 --mem 1M --serial null", 7)])
def test_errors_that_nobody_can_read(kvm, line, status, streams):
    """They change no status, and are not said elsewhere."""
    done = shell(f"SPLITVMM {line} {streams}")
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


def test_mistakes_do_not_depend_on_argparse(monkeypatch):
    """That of Debian 12's Python raises what standard error does."""
    def refused(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(argparse.ArgumentParser, "_print_message", refused)
    with pytest.raises(SystemExit) as ended:
        main(["run", "--bogus", "x"])
    assert ended.value.code == os.EX_USAGE


def test_doctor_where_nothing_may_be_written(monkeypatch):
    from vmm.cli import doctor

    def refused(**_):
        raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(doctor.tempfile, "NamedTemporaryFile", refused)
    assert "Permission denied" in doctor._page_cache().found


@pytest.mark.parametrize("limit", [15, 20, 25, 30, 35, 40, 45, 50])
def test_few_descriptors(kvm, image, limit):
    """Wherever they run out, it is said, or the devices are served without what needs more."""
    done = subprocess.run([SPLITVMM, "run", BUILD / "check.elf", "--mem", "64M", "--cmdline", "rounds=1",
                           "--disk", f"{image},queues=2"], capture_output=True, text=True, timeout=TIMEOUT_S,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or (done.returncode in (os.EX_USAGE, os.EX_IOERR) and "Too many open files" in \
        done.stderr.splitlines()[-1])


def test_more_disks_than_pins(kvm, tmp_path):
    disks = []
    for i in range(22):
        (tmp_path / f"disk{i}").write_bytes(bytes(4096))
        disks += ["--disk", f"{tmp_path}/disk{i},offload=off"]
    done = subprocess.run([SPLITVMM, "run", BUILD / "echo.elf", "--mem", "2M", *disks], capture_output=True, text=True)
    assert done.returncode == os.EX_USAGE and "transport=pci for more" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("spoil", [lambda path: path.mkdir(), lambda path: path.write_bytes(b"\xff\xfe\0")])
def test_a_record_that_cannot_be_read_is_none(tmp_path, spoil):
    built = tmp_path / "rng.so"
    built.write_bytes((BUILD / "rng.so").read_bytes())
    spoil(tmp_path / "rng.so.abi")
    objects.check_abi(built, layout_device(Rng))


def test_output_goes_on_over_reboots(kvm, tmp_path):
    """A file is emptied once for each run of the command."""
    guest, serial = tmp_path / "guest", tmp_path / "serial"
    # mov $0x3f8, %dx; mov $'A', %al; out; mov $0x682, %dx; out; hlt: the reset register
    guest.write_bytes(bytes.fromhex("baf803" "b041" "ee" "ba8206" "ee" "f4"))
    serial.write_text("of another run")
    process = start("run", guest, "--flat", "0x7c00", "--mem", "1M", "--reboots", "1000000", "--serial",
                    f"file={serial}")
    deadline = time.monotonic() + TIMEOUT_S
    while set(text := serial.read_text()) != {"A"} or len(text) < 5:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT_S) == 143 and set(serial.read_text()) == {"A"}


def test_no_newline_is_waited_for(kvm, tmp_path):
    """What a full-screen program draws is in the file while the guest runs."""
    serial = tmp_path / "serial"
    process = start("run", BUILD / "echo.elf", "--mem", "2M", "--serial", "stdio", stdin=subprocess.PIPE,
                    stdout=serial.open("wb"))
    process.stdin.write(b"a prompt: ")
    process.stdin.flush()
    deadline = time.monotonic() + TIMEOUT_S
    while serial.read_text() != "a prompt: ":
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.communicate(b"\n", timeout=TIMEOUT_S)
    assert process.returncode == 3 and serial.read_text() == "a prompt: \n"


@pytest.mark.parametrize("where", ["--serial", "--console"])
def test_what_a_guest_does_not_read_is_not_read(kvm, tmp_path, where):
    """A guest that never looks, megabytes typed ahead: they stay where they are, and it can be ended."""
    guest = tmp_path / "guest"
    guest.write_bytes(bytes.fromhex("f4" "ebfd"))       # hlt; jmp
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = start("run", guest, "--flat", "0x7c00", "--mem", "1M", "--serial", "null", where, "stdio", stdin=reader,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sent, moved_at = 0, time.monotonic()
    while sent <= 1 << 16 or time.monotonic() - moved_at < 1:       # more than the pipe holds: some was read
        try:
            sent += os.write(writer, bytes(1 << 16))
            moved_at = time.monotonic()
            assert sent < 1 << 20
        except BlockingIOError:
            time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(TIMEOUT_S) == 130
    os.close(reader)
    os.close(writer)
