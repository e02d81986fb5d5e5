"""Do the tests find faults that only the BPF build has?  Each fault is a small edit of a copy of
kernel_devices, behind `#ifdef __bpf__`, one at a time; the tests named beside it run on what is built of that.

    python -m tools.faults [--verify] [WORD ...]    those whose description has one of the words, or all

Prints a table of which test found which fault; fails if one was found by none.  A fault that the kernel's
verifier refuses to load says nothing of the tests, and counts as not found.  With --verify, `splitvmm verify` looks
for them in place of the tests, on the devices that it has strategies of; what it does not find it says, and is 0.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from vmm.verify.strategies import ours

from .edits import place_of, replaced

ROOT = Path(__file__).parent.parent
WORK = ROOT / "build" / "faults"
TESTS = "tests/kernel_devices/test_"
VERIFY_STEPS = 40000    # of each device


@dataclass(frozen=True)
class Fault:
    what: str
    file: str       # in kernel_devices
    old: str        # which is there once
    new: str
    tests: str      # stems in tests/kernel_devices


FAULTS = [
    # rings
    Fault("packed: the wrap counter turns a place late", "packed_ring.h",
          "if (place < queue->setup.size)", "if (place <= queue->setup.size)", "packed"),
    Fault("packed: an event index that never interrupts", "packed_ring.h", "return since < used;", "return 0;", "net"),
    Fault("packed: a doorbell is asked for a place late", "packed_ring.h",
          "queue->position.next_avail | (__u32)EVENT_AT", "(queue->position.next_avail + 1) | (__u32)EVENT_AT",
          "packed"),
    Fault("packed: flags of a used descriptor say available", "packed_ring.h",
          "PACKED_AVAIL | PACKED_USED : 0)", "PACKED_AVAIL : PACKED_USED)", "packed"),
    Fault("split: an event index that never interrupts", "split_ring.h",
          "return (__u16)(queue->position.next_used - event - 1) < used;", "return 0;", "net console"),
    Fault("split: interrupts though the driver wants none", "split_ring.h",
          "return !(flags & AVAIL_NO_INTERRUPT);", "return 1;", "net"),
    Fault("split: a doorbell is asked for an entry late", "split_ring.h",
          "queue->position.next_avail, &reason);", "queue->position.next_avail + 1, &reason);", "blk net"),
    Fault("split: more available than the queue holds", "split_ring.h",
          "if (waiting > queue->setup.size) {", "if (0) {", "blk"),
    Fault("split: used lengths are 0", "split_ring.h", "WRITE_ONCE(elem[1], written);", "WRITE_ONCE(elem[1], 0);",
          "blk"),
    # chains
    Fault("indirect tables that were not negotiated", "virtqueue.h",
          "chain->indirect || !queue->setup.indirect ||", "chain->indirect ||", "blk packed"),
    Fault("an indirect table in an indirect table", "virtqueue.h",
          "chain->indirect || !queue->setup.indirect ||", "!queue->setup.indirect ||", "blk packed"),
    Fault("half an entry at the end of an indirect table", "virtqueue.h",
          "desc->len == 0 || desc->len % sizeof(*desc))", "desc->len == 0)", "blk packed"),
    Fault("a descriptor behind the table", "virtqueue.h",
          "chain->left == 0 || chain->next >= chain->entries)", "chain->left == 0)", "blk"),
    Fault("a buffer of length 0", "virtqueue.h", "desc.len == 0 || (chain", "(chain", "blk packed"),
    Fault("a buffer to read after one to write", "virtqueue.h",
          "(chain->writable && !segment->writable)", "0", "blk packed"),
    Fault("the interrupt's cause is not said", "virtqueue.h",
          "if (page && offset)", "if (0)", "blk"),
    # visits
    Fault("a queue that userspace holds is served", "ownership.h",
          "READ_ONCE(ownership->holder) == SIDE_KERNEL && ", "", "blk"),
    Fault("no limit of bytes to a visit", "serving.h",
          "return copied <= BUDGET_BYTES && bytes <= BUDGET_BYTES - copied;", "return copied != ~0ull;", "budget blk"),
    Fault("bytes copied in vain are not charged", "blk/blk_copy.h",
          "charge_bytes(serving, length);", "if (work->copied + length == ~0u) charge_bytes(serving, length);",
          "budget"),
    Fault("another device's message calls the collector", "exit_path.bpf.c",
          "index = ((__u32)context->args[1] >> MESSAGE_OWNER_SHIFT) - 1;",
          "index = (__u32)context->args[1] >> MESSAGE_OWNER_SHIFT;", "bpf_paths"),
    Fault("an acknowledged interrupt stays", "exit_path.h",
          "fetch_and((__u32 *)(page + (target & ~3u)), ~(__u32)value);", ";", "blk"),
    Fault("interrupts for what was signalled before", "virtqueue.h",
          "queue->position.unsignalled = 0;", "", "net console"),
    # the dispatcher
    Fault("a read is taken for a write", "exit_path.bpf.c", "if (context->args[0] != TRACE_WRITE)", "if (0)",
          "bpf_paths"),
    Fault("a read of a port is taken for a write", "exit_path.bpf.c", "if (context->args[0] != PIO_OUT)", "if (0)",
          "bpf_paths"),
    Fault("writes of other processes are served", "exit_path.bpf.c",
          "!shown || exits->kernel.process != bpf_get_current_pid_tgid() >> 32)", "!shown)", "bpf_paths"),
    Fault("wide writes of other processes go up", "exit_path.bpf.c",
          "!first || exits->kernel.process != bpf_get_current_pid_tgid() >> 32)", "!first)", "bpf_paths"),
    Fault("of a string of doorbells one goes up", "exit_path.bpf.c",
          "bpf_loop(count, decline_one", "bpf_loop(1, decline_one", "bpf_paths"),
    Fault("a string of doorbells is served as one", "exit_path.bpf.c",
          "action == ACTION_NOTIFY && count == 1 && !declines", "action == ACTION_NOTIFY && !declines", "bpf_paths"),
    Fault("of a string of acknowledgements the last counts", "exit_path.bpf.c",
          "(action == ACTION_NOTIFY || action == ACTION_CLEAR) && count", "action == ACTION_NOTIFY && count",
          "bpf_paths"),
    Fault("a doorbell overtakes a decline", "exit_path.bpf.c",
          "count == 1 && !declines_before(exits))", "count == 1)", "bpf_paths"),
    Fault("a posted write overtakes a decline", "exit_path.bpf.c",
          "action == ACTION_WATCH || declines_before(exits))", "action == ACTION_WATCH)", "bpf_paths"),
    Fault("what is masked is not told", "exit_path.bpf.c",
          "action == ACTION_NOTIFY || action == ACTION_WATCH ||", "action == ACTION_NOTIFY ||", "bpf_paths"),
    Fault("ignored pieces of a wide write go up", "exit_path.bpf.c",
          "if (route->action != ACTION_IGNORE) {", "if (1) {", "bpf_paths"),
    Fault("a wide write never ends", "exit_path.bpf.c", "wide->left -= width;", ";", "bpf_paths"),
    Fault("a thread that finds no room is not told", "exit_path.bpf.c", "BPF_ANY) ? 1 : 0;", "BPF_ANY) ? 0 : 0;",
          "bpf_paths"),
    Fault("interrupts of posted writes are not recorded", "exit_path.bpf.c", "if (route->interrupts)", "if (0)",
          "bpf_paths"),
    # declines
    Fault("a full outbox is written over", "decline_bpf.h",
          "if (head - vcpu->inbox.tail >= DECLINES)", "if (head - vcpu->inbox.tail == ~0u)", "bpf_paths"),
    Fault("lost declines are not counted", "decline_bpf.h", "vcpu->outbox.lost++;", ";", "bpf_paths"),
    Fault("a decline does not signal", "decline_bpf.h", "bpf_send_signal_thread(DECLINE_SIGNAL);", ";", "bpf_paths"),
    Fault("declines are not counted", "decline_bpf.h", "fetch_add(&exits->kernel.declined, 1);", ";", "bpf_paths"),
    Fault("nobody is called where there is no vCPU", "decline_bpf.h",
          "bpf_ringbuf_output(&upcalls, &call, sizeof(call), BPF_RB_FORCE_WAKEUP);", ";", "bpf_paths"),
    Fault("declines are not recorded", "decline_bpf.h",
          "if (access->width <= 8 && access->device < DEVICES)", "if (0)", "bpf_paths"),
    Fault("an upcall looks like a write", "decline_bpf.h", ".width = UPCALL };", ".width = 4 };", "bpf_paths"),
    Fault("a message of another process calls the collector", "exit_path.bpf.c",
          "exits->kernel.process == bpf_get_current_pid_tgid() >> 32)", "1)", "bpf_paths"),
    Fault("a guest's own message calls the collector", "exit_path.bpf.c",
          "if ((__u32)context->args[0] == COLLECT_ADDRESS && exits", "if (exits", "bpf_paths"),
    Fault("nobody wakes the thread that polls the ring", "platform_bpf.h",
          "return READ_ONCE(*flags) & 1 ? DECLINE_RING_ASLEEP : 0;", "return 0;", "bpf_paths"),
    Fault("pages that are not mapped read as what was there", "platform_bpf.h",
          "(const void *)(image + offset)) ? -1 : 0;", "(const void *)(image + offset)) ? 0 : 0;", "bpf_paths"),
    Fault("a write is done without a ring", "platform_bpf.h",
          "__u64 offset, int durable)\n{\n\treturn -1;",
          "__u64 offset, int durable)\n{\n\treturn 0;", "bpf_paths"),
    # devices
    Fault("blk: a sector beyond the end", "blk/blk.c",
          "sectors > capacity - sector ?", "sectors > capacity - sector + 1 ?", "blk"),
    Fault("blk: writes of a read-only disk", "blk/blk.c",
          "\tif (disk->read_only)\n\t\treturn BLK_DECLINE_READ_ONLY;\n\tif (bytes == 0 || bytes % BLK_SECTOR)",
          "\tif (bytes == 0 || bytes % BLK_SECTOR)", "blk"),
    Fault("blk: completed before it lasts", "blk/blk_ring.h",
          "disk->durable ? WRITE_DSYNC : 0;", "disk->durable ? 0 : 0;", "blk"),
    Fault("net: sent while the link is down", "net/net_transmit.h", "if (!state->port.link_up)", "if (0)", "net"),
    Fault("net: packets shorter than their headers", "net/net_transmit.h",
          "if (work->common.walk.total < LINK_HEADER_BYTES || ", "if (", "net"),
    Fault("net: reads into buffers that are too small", "net/net_receive.h",
          " || work->common.walk.total < state_of(serving)->port.receive_bytes)", ")", "net"),
    Fault("net: no anti-spoofing", "net/net_transmit.h",
          "return source[0] == mac[0] && source[1] == mac[1] && source[2] == mac[2] ? 0 : SERVE_LATER;",
          "return source && mac ? 0 : SERVE_LATER;", "net"),
    Fault("net: anti-spoofing sends what the driver may change", "net/net_transmit.h",
          "buffers = replace_headers(serving);", ";", "net"),
    Fault("net: no rate limits", "net/net_transmit.h",
          "if (before <= now || before + cost - now <= burst)", "if (1)", "net"),
    Fault("net: bytes of receive buffers never lowered", "net/net_receive.h",
          "uring->receive.bytes -= length;", ";", "net"),
    Fault("net: the header tells of one buffer", "net/net_receive.h", "*buffers = count;", "*buffers = 1;", "net"),
    Fault("rng: repeats its bytes", "rng/rng.c",
          "state->pool.taken = taken + length;", "state->pool.taken = taken;", "rng"),
    Fault("rng: more than is told", "rng/rng.c",
          "walk->chain.slots, length);", "walk->chain.slots, length / 2);", "rng"),
    Fault("console: output out of order", "console/console.c",
          "if (uring_in_flight(uring) || (receive && (", "if ((receive && (uring_in_flight(uring) || ", "console"),
    Fault("console: output in part is taken for all of it", "console/console.c",
          "result < 0 || (!receive && (__u32)result != tag->wanted)", "result < 0", "console"),
    Fault("console: the end of input is not noticed", "console/console.c",
          "state_of(serving)->stream.ended = 1;", ";", "console"),
]


def edited(text: str, fault: Fault) -> str:
    """`text` with the fault in its BPF build.  Raises LookupError if it has not the fault's place."""
    if "bpf" in fault.file:
        return replaced(fault.file, text, fault.old, fault.new)
    at = place_of(fault.file, text, fault.old)
    start, end = text.rindex("\n", 0, at) + 1, text.index("\n", at + len(fault.old)) + 1
    good = text[start:end]
    return f"{text[:start]}#ifdef __bpf__\n{good.replace(fault.old, fault.new)}#else\n{good}#endif\n{text[end:]}"


def build(fault: Fault) -> None:
    """All BPF objects anew, in the copy."""
    shutil.rmtree(WORK, ignore_errors=True)
    shutil.copytree(ROOT / "kernel_devices", WORK / "kernel_devices")
    others = shutil.ignore_patterns("faults", "sanitized", "wide", "nested")
    shutil.copytree(ROOT / "build", WORK / "build", ignore=others)
    path = WORK / "kernel_devices" / fault.file
    path.write_text(edited(path.read_text(), fault))
    objects = sorted(f"build/{p.name}" for p in (ROOT / "build").glob("*.bpf.o") if p.name != "bpf_run.bpf.o")
    commands = subprocess.run(["make", "-n", "-B", *objects], cwd=ROOT, capture_output=True, text=True, check=True)
    compilers = [line for line in commands.stdout.splitlines() if " -target bpf " in line and " -c kernel_dev" in line]
    for command in compilers:
        subprocess.run(command, shell=True, cwd=WORK, check=True, stdout=subprocess.DEVNULL)
    if len(compilers) != len(objects):
        raise RuntimeError(f"{len(compilers)} of {len(objects)} objects built; wanted a command of make for each")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "tools.abi", WORK / "build"], cwd=ROOT, env=environment, check=True)


def verdict(fault: Fault) -> tuple[bool, str]:
    """Whether a test found it, and which."""
    build(fault)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "--timeout", "60", "-p", "no:cacheprovider",
         *(f"{TESTS}{stem}.py" for stem in fault.tests.split())],
        cwd=ROOT, env={**os.environ, "SPLITVMM_BUILD": str(WORK / "build"), "SPLITVMM_REQUIRE": "bpf,ring"},
        capture_output=True, text=True)
    found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    if "BpfUnavailable" in done.stdout:
        return False, "the verifier refuses it"
    if found:
        return True, found[1].removeprefix("tests/kernel_devices/")
    return "Timeout" in done.stdout, "a test that hung" if "Timeout" in done.stdout else "no test"


def found_by_verify(fault: Fault) -> tuple[bool, str]:
    """Whether random sequences found it, and how many steps that took."""
    build(fault)
    for device in ours():
        report = WORK / "report.json"
        done = subprocess.run(
            [sys.executable, "-m", "vmm", "-q", "verify", device, "--steps", str(VERIFY_STEPS), "--seed", "1",
             "--modes", "on", "--json", report, "--save", WORK / "sequence.json"],
            cwd=ROOT, env={**os.environ, "SPLITVMM_BUILD": str(WORK / "build")}, capture_output=True, text=True)
        if "the verifier refuses it" in done.stderr:
            return False, "the kernel's verifier refuses it"
        if done.returncode == 1 and report.exists():
            campaigns = json.loads(report.read_text())["campaigns"]
            what = campaigns[-1]["difference"].partition(": ")[2]
            return True, f"verify {device}, step {sum(c['steps'] for c in campaigns)}: {what}"
        if done.returncode:
            return False, f"verify {device}: {done.stderr.strip()}"
    return False, f"verify {', '.join(ours())}: {VERIFY_STEPS} steps each"


def main(words: list[str]) -> int:
    by_verify = "--verify" in words
    words = [word for word in words if word != "--verify"]
    chosen = [fault for fault in FAULTS if not words or any(word in fault.what for word in words)]
    if by_verify:       # of other devices it has no strategy
        chosen = [fault for fault in chosen if "/" not in fault.file or fault.file.partition("/")[0] in ours()]
    missed = 0
    for fault in chosen:
        found, by = found_by_verify(fault) if by_verify else verdict(fault)
        missed += not found
        print(f"{'found' if found else 'MISSED':7} {fault.what:55} {by}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} faults found")
    shutil.rmtree(WORK, ignore_errors=True)
    return 1 if missed and not by_verify else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
