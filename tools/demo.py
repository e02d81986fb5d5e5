"""The main job on real input: an ext4 image with files in it, through a device that the kernel
serves on the exit path; a network card that the host pings; then a table of what that buys.

    python -m tools.demo [--executor kvm|emulator] [--brief]

Without /dev/kvm its guests run in the emulator, and nothing is measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
import zlib
from pathlib import Path

from vmm.bench import run as bench
from vmm.bench.rows import Wanted
from vmm.devmodel.devices.blk import SECTOR
from vmm.kit import children
from vmm.kvm.bpf import why_not
from vmm.paths import BUILD
from vmm.sync.signals import ending_once, temporary_folder

IMAGE_BYTES = 48 << 20
SCRATCH_BYTES = 4 << 20
BLOCK = 4096


def say(text: str) -> None:
    print(f"demo: {text}", flush=True)


def tool(*command, **options) -> str:
    """Run a program of e2fsprogs; its output."""
    path = f"{os.environ['PATH']}:/sbin:/usr/sbin"
    done = children.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                        env={**os.environ, "PATH": path}, **options)
    if done.returncode:
        sys.exit(f"demo: {command[0]} failed: {done.stdout}{done.stderr}")
    return done.stdout


def make_files(folder: Path) -> None:
    """Files of many sizes, and one that the guest may write."""
    chance = random.Random(1)
    for i in range(40):
        (folder / f"file{i:02}").write_bytes(chance.randbytes(chance.randrange(1, 400_000)))
    shutil.copy(BUILD / "check.elf", folder / "check.elf")
    (folder / "scratch").write_bytes(b"\xaa" * SCRATCH_BYTES)


def make_image(path: Path, folder: Path) -> None:
    path.write_bytes(b"")
    os.truncate(path, IMAGE_BYTES)
    tool("mkfs.ext4", "-q", "-b", BLOCK, "-E", "root_owner=0:0", "-d", folder, path)


def scratch_area(image: Path) -> tuple[int, int]:
    """Sectors of the longest run of blocks of /scratch: (first, count)."""
    blocks = [int(b) for b in tool("debugfs", "-R", "blocks /scratch", image).split()]
    best, start = (0, 0), 0
    for i in range(1, len(blocks) + 1):
        if i == len(blocks) or blocks[i] != blocks[i - 1] + 1:
            best = max(best, (i - start, blocks[start]))
            start = i
    count, first = best
    return first * BLOCK // SECTOR, count * BLOCK // SECTOR


def checksums(image: Path, into: Path) -> dict[str, str]:
    """SHA-256 of every file in the image but the scratch file."""
    into.mkdir()
    tool("debugfs", "-R", f"rdump / {into}", image)
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(into.iterdir())
            if p.is_file() and p.name != "scratch"}


def verify(image: Path, wanted: dict[str, str], into: Path) -> None:
    tool("e2fsck", "-fn", image)
    if checksums(image, into) != wanted:
        sys.exit("demo: files in the image have changed")


def guest_in(executor: str, mode: str, image: Path, area: tuple[int, int]) -> str:
    """Run the checking guest; what it said."""
    done = children.run(
        [sys.executable, "-m", "vmm", "run", str(BUILD / "check.elf"), "--mem", "64M", "--cmdline",
         f"area={area[0]} area_sectors={area[1]} rounds=60", "--disk",
         f"path={image},offload={mode},queues=2,serial=demo", "--executor", executor],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode or "check: passed" not in done.stdout:
        sys.exit(f"demo: the guest failed with offload {mode}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.splitlines()[0]


def network(executor: str, modes: list[str], seconds: float) -> None:
    """A guest on the network, with the host's ping and UDP for clients for so long at least, in a namespace of its
    own."""
    namespaces = subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode == 0
    if not namespaces or not os.path.exists("/dev/net/tun"):
        say("no TAP or no network namespace to be had here, so no guest on the network")
        return
    for each in (*modes, ",".join(reversed(modes))):
        with temporary_folder("splitvmm-demo-") as folder:    # for it may be killed
            command = [sys.executable, "-m", "tools.netguest", each, "--seconds", str(seconds), "--executor", executor]
            done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TMPDIR": folder})
        if done.returncode:
            sys.exit(f"demo: the network guest failed with offload {each}: {done.stdout}{done.stderr}")
        got = json.loads(done.stdout)
        if got["answered"] != got["pings"] or got["back"] != got["sent"]:
            sys.exit(f"demo: offload {each}: {got}; wanted every packet back")
        handled, by_user = got["totals"]["handled"], got["totals"]["user_handled"]
        say(f"net, offload {each}: {got['answered']} of {got['pings']} pings and {got['back']} of {got['sent']} "
            f"datagrams answered, {100 * handled / (handled + by_user):.0f} % of the packets without Python"
            + (f", through {got['switches']} changes of hands" if got["switches"] else ""))


def modes_with(executor: str) -> list[str]:
    """Of offload, that can be had here; of the others it is said why not."""
    if executor == "emulator":
        say("guests run in the emulator (--executor emulator), so no offload=on: a kernel half needs KVM's exits")
    elif reason := why_not():
        say(f"no BPF here, so no offload=on: {reason}")
    else:
        return ["off", "host", "on"]
    return ["off", "host"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brief", action="store_true", help="everything, but for no longer than shows that it works")
    parser.add_argument("--executor", choices=("kvm", "emulator"), help="what runs the guests (default: kvm, and "
                        "emulator where there is no /dev/kvm that may be used)",
                        default="kvm" if os.access("/dev/kvm", os.R_OK | os.W_OK) else "emulator")
    given = parser.parse_args()
    executor, brief = given.executor, given.brief
    began, modes = time.monotonic(), modes_with(executor)
    with temporary_folder("splitvmm-demo-") as name:
        folder = Path(name)
        (folder / "files").mkdir()
        make_files(folder / "files")
        make_image(folder / "image", folder / "files")
        wanted, area = checksums(folder / "image", folder / "before"), scratch_area(folder / "image")
        say(f"an ext4 image of {IMAGE_BYTES >> 20} MiB with {len(wanted)} files; the guest may write "
            f"{area[1]} sectors of one more, from {area[0]}")
        results = {}
        for mode in modes:
            image = folder / mode
            shutil.copy(folder / "image", image)
            said = guest_in(executor, mode, image, area)
            held = zlib.adler32(image.read_bytes())
            if int(re.search(r"adler=(\d+)", said)[1]) != held:
                sys.exit(f"demo: offload {mode}: the guest saw other data than the image holds")
            verify(image, wanted, folder / f"after-{mode}")
            results[mode] = (said, held)
            say(f"offload {mode:4}: every request checked, e2fsck clean, files unchanged, adler {held:#010x}")
        if len(set(results.values())) != 1:
            sys.exit(f"demo: the modes ended in different states: {results}")
        say(f"offload {', '.join(modes)}: the same answers, the same bytes")
    network(executor, modes, 0.1 if brief else 1)
    if executor == "kvm":
        bench.main(Wanted("blk", modes, peers=[], repeat=1 if brief else 3, quick=True))
    say(f"done in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    with ending_once():
        sys.exit(main())
