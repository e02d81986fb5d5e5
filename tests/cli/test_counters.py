"""`--stats`: where the counters go, and that none is missing."""

import json
import os
import subprocess

import pytest

from tests.cli.started import SPLITVMM
from tests.cli.test_cli import say
from vmm.devmodel.layout import layout_block
from vmm.devmodel.virtqueue import COMMON_REASONS, Entry, UserCounters
from vmm.paths import BUILD

TIMEOUT_S = 60
STATE = {"active", "rings", "sequence", "last_reason", "reserved"}      # no counters
GUEST = BUILD / "real_mode.bin"
FLAT = ("--flat", "0x7c00", "--mem", "1M")


def run(*arguments, **options):
    return subprocess.run([SPLITVMM, "run", *map(str, arguments)], capture_output=True, text=True, timeout=TIMEOUT_S,
                          **options)


@pytest.mark.parametrize("arguments", [
    ["--stats", GUEST], [GUEST, "--stats"], ["--stats=table", GUEST], ["--stat", GUEST],
    ["--stats=json", "--stats", "--", GUEST]])
def test_a_table_is_on_standard_error(kvm, arguments):
    """And the word behind --stats is the guest."""
    done = run(*FLAT, *arguments)
    assert done.returncode == 7 and done.stdout == "real\n" and done.stderr.startswith("requests")
    assert "vcpu0: " in done.stderr


def test_every_counter_is_there(kvm, image, mode):
    """By the names that the schema has, for each queue and for the device."""
    done = run(BUILD / "check.elf", "--mem", "64M", "--cmdline", "rounds=1", "--serial", "null", "--stats=json", "-q",
               "--disk", f"{image},queues=2,offload={mode}")
    assert done.returncode == 0 and done.stderr == "" and done.stdout.count("\n") == 1
    found = json.loads(done.stdout)
    disk, = found["devices"]
    wanted = {field.name for field in layout_block(Entry).fields} - STATE
    wanted |= {f"user_{field.name}" for field in layout_block(UserCounters).fields if field.name not in STATE}
    wanted.add("upcalls")
    assert found["status"] == 0 and disk["device"] == "disk0" and disk["offload"] == mode
    assert [queue.pop("queue") for queue in disk["queues"]] == [0, 1]
    for counters in (disk["total"], *disk["queues"]):
        assert set(counters) == wanted
        assert set(counters["declined"]) > {name.lower() for name in COMMON_REASONS}
    for name in wanted - {"declined", "longest_ns"}:
        assert disk["total"][name] == sum(queue[name] for queue in disk["queues"])
    assert disk["total"]["longest_ns"] == max(queue["longest_ns"] for queue in disk["queues"])
    assert (disk["total"]["handled"] > 0) == (mode != "off") and disk["total"]["user_handled"] > 0
    vcpu, = found["vcpus"]
    assert vcpu["runs"] >= vcpu["exits"] > 0 and (vcpu["taken"] > 0) == (mode == "host")


def test_a_file_has_a_line_for_each_start(kvm, tmp_path):
    path, guest = tmp_path / "a,b", tmp_path / "guest"
    guest.write_bytes(bytes.fromhex("ba8206" "b001" "ee" "f4"))     # mov $0x682, %dx; mov $1, %al; out; hlt: a reset
    path.write_text("of another run")
    done = run(guest, *FLAT, "--reboots", 2, f"--stats=json,file={tmp_path}/a,,b")
    assert done.returncode == 101 and done.stdout == ""
    assert [json.loads(line)["rebooted"] for line in path.read_text().splitlines()] == [True] * 3
    run(GUEST, *FLAT, f"--stats=file={tmp_path}/a,,b")
    assert path.read_text().startswith("requests")


@pytest.mark.parametrize("arguments, says", [
    (["guest", "--stats=xml"], "--stats 'xml'; wanted table or json"),
    (["guest", "--stats="], "wanted key=value"), (["guest", "--stats=json,to=x"], "unknown key 'to'"),
    (["guest", "--stats=json"], "the guest has standard output; wanted --stats=json,file=FILE"),
    (["guest", "--stats=json", "--serial", "stdio"], "the guest has standard output"),
    (["--kernel", "linux", "--stats=json", "--console", "stdio"], "the guest has standard output"),
    (["guest", "--stats=json,file=/none/file"], "--stats file /none/file: No such file or directory; wanted")])
def test_mistakes(capsys, arguments, says):
    status, out, err = say(capsys, "run", *arguments)
    assert status == os.EX_USAGE and out == "" and says in err.splitlines()[-1]


@pytest.mark.parametrize("where, status, says", [
    ("--stats=json --serial null > /dev/full", os.EX_IOERR, "splitvmm: No space left on device\n"),
    ("--stats=json,file=/dev/full", os.EX_IOERR, "splitvmm: /dev/full: No space left on device\n"),
    ("--stats 2>&-", 7, ""), ("--stats --serial null 2> /dev/full", os.EX_IOERR, "")])
def test_what_cannot_be_written(kvm, where, status, says):
    done = subprocess.run(["bash", "-c", f"{SPLITVMM} run {GUEST} {' '.join(FLAT)} {where}"],
                          capture_output=True, text=True, timeout=TIMEOUT_S)
    assert (done.returncode, done.stderr) == (status, says)
