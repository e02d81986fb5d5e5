"""Build what the nested machine boots: kernels, initial RAM disks, and a QEMU recent enough.

    python -m tools.nested.build [--kernel 612|61|newest ...]

Packages come through the system's own apt configuration (debian.py).  Nothing of the system is changed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

from .debian import BuildError, codename, download, kernel_packages, run, unpack
from .files import DISK, FILES, GUEST_MODULES, HERE, KERNELS, L1_MODULES, QEMU, boot

QEMU_PACKAGES = ("qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios")
DISK_BYTES = 224 << 20
GUEST_TOOLS = ("/usr/bin/fio", "/usr/bin/iperf3")
COMPRESSION = ((b"\xfd7zXZ", ["xz", "-dc", "--single-stream"]), (b"\x28\xb5\x2f\xfd", ["zstd", "-dcq"]),
               (b"\x1f\x8b", ["gzip", "-dcq"]))      # how a kernel's payload starts
PAYLOAD_AT = 0x248                              # in the setup header: offset and length of the payload


# Kernels

def extract_vmlinux(image: Path, into: Path) -> None:
    """The ELF file inside a bzImage: booting it spares the time of decompression."""
    data = image.read_bytes()
    offset, length = (int.from_bytes(data[at:at + 4], "little") for at in (PAYLOAD_AT, PAYLOAD_AT + 4))
    start = 512 * ((data[0x1f1] or 4) + 1) + offset
    payload = data[start:start + length]
    command = next((command for magic, command in COMPRESSION if payload.startswith(magic)), None)
    if not command:
        raise BuildError(f"{image}: a payload that starts with {payload[:4]!r}; wanted xz, zstd or gzip")
    done = subprocess.run(command, input=payload, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if done.stdout[:4] != b"\x7fELF":
        raise BuildError(f"{image}: no ELF file in it")
    into.write_bytes(done.stdout)


def add_modules(tree: Path, version: str, names: tuple[str, ...], into: Path) -> None:
    """Copy modules with all that they depend on, in the order in which to load them."""
    into.mkdir(parents=True, exist_ok=True)
    wanted: dict[Path, None] = {}
    for name in names:
        done = subprocess.run(["modprobe", "-d", tree, "-S", version, "--show-depends", name], text=True,
                              capture_output=True)
        wanted |= dict.fromkeys(Path(path) for path in re.findall(r"^insmod (\S+)", done.stdout, re.MULTILINE))
    order = []
    for path in wanted:
        if path.suffix == ".xz":
            (into / path.stem).write_bytes(subprocess.run(["xz", "-dc", path], stdout=subprocess.PIPE,
                                                          check=True).stdout)
        else:
            shutil.copy(path, into)
        order.append(path.name.removesuffix(".xz"))
    (into / "order").write_text("\n".join(order) + "\n")


def add_busybox(root: Path) -> None:
    (root / "bin").mkdir(parents=True, exist_ok=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for name in run("/bin/busybox", "--list").split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")


def add_program(root: Path, program: str) -> None:
    """A program with its libraries."""
    for path in {program, *re.findall(r"(/\S+) \(0x", run("ldd", program))}:
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def archive(root: Path, into: Path) -> None:
    """A folder as an initial RAM disk."""
    names = "\n".join(sorted(str(path.relative_to(root)) for path in root.rglob("*")))
    with open(into, "wb") as file:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"], input=names.encode(), stdout=file,
                       cwd=root, check=True)
    shutil.rmtree(root)


def build_l1(tree: Path, version: str, home: Path) -> None:
    root = home / "l1"
    add_busybox(root)
    for name in ("dev", "proc", "sys", "mod", "new", "ro", "rw", "run", "kmod"):
        (root / name).mkdir()
    add_modules(tree, version, L1_MODULES, root / "mod")
    shutil.copy("/bin/kmod", root / "kmod")
    for name, source in (("init", "l1init"), ("stage2", "l1stage2")):
        shutil.copy(HERE / source, root / name)
        (root / name).chmod(0o755)
    archive(root, home / "l1.img")


def build_guest(tree: Path, version: str, home: Path) -> None:
    """Two archives: what every guest needs, and the large programs that some do."""
    root = home / "guest"
    add_busybox(root)
    for name in ("dev", "proc", "sys", "mnt", "tmp", "etc", "mod"):
        (root / name).mkdir()
    add_modules(tree, version, GUEST_MODULES, root / "mod")
    shutil.copy(HERE / "guestinit", root / "init")
    (root / "init").chmod(0o755)
    archive(root, home / "guest.img")
    for program in GUEST_TOOLS:
        add_program(root, program)
    archive(root, home / "guest-tools.img")


def image_in(tree: Path, version: str) -> Path:
    """Where packages have a kernel's bzImage; recent ones among its modules."""
    places = (tree / f"boot/vmlinuz-{version}", tree / f"lib/modules/{version}/vmlinuz")
    for path in places:
        if path.exists():
            return path
    raise BuildError(f"no {' and no '.join(map(str, places))}; wanted one in the packages of {version}")


def build_kernel(name: str) -> None:
    release, version = KERNELS[name]
    home, tree = boot(name), FILES / "unpacked"
    built = home / "version"
    if built.exists() and newest_source() < built.stat().st_mtime:
        return
    shutil.rmtree(home, ignore_errors=True)
    shutil.rmtree(tree, ignore_errors=True)
    home.mkdir(parents=True)
    for package in kernel_packages(release, version):
        unpack(download(package, release), tree)
    if not (tree / "lib").exists():
        (tree / "lib").symlink_to("usr/lib")
    full = next((tree / "lib/modules").iterdir()).name
    run("depmod", "-b", tree, full)
    shutil.copy(image_in(tree, full), home / "vmlinuz")
    extract_vmlinux(home / "vmlinuz", home / "vmlinux")
    build_l1(tree, full, home)
    build_guest(tree, full, home)
    shutil.rmtree(tree)
    built.write_text(full + "\n")
    print(f"nested: Linux {full}")


def build_disk() -> None:
    """An ext4 image with an archive on it, for guests to unpack; the files tell nothing, but are of
    many sizes."""
    if DISK.exists():
        return
    folder, chance = FILES / "disk", random.Random(7)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "files").mkdir(parents=True)
    sums = []
    for i in range(150):
        data = chance.randbytes(chance.choice((0, 10, 500, 4096, 5000, 70_000, 200_000)))
        (folder / f"files/{i}").write_bytes(data)
        sums.append(f"{hashlib.md5(data).hexdigest()}  {i}\n")
    (folder / "files/sums").write_text("".join(sums))
    run("tar", "-C", folder / "files", "-czf", folder / "files.tar.gz", ".")
    shutil.rmtree(folder / "files")
    new = DISK.with_suffix(".new")
    new.touch()
    os.truncate(new, DISK_BYTES)
    run("mkfs.ext4", "-q", "-E", "root_owner=0:0,lazy_itable_init=0", "-d", folder, new)
    new.rename(DISK)
    shutil.rmtree(folder)


def newest_source() -> float:
    return max(path.stat().st_mtime for path in HERE.iterdir() if path.is_file())


def build_qemu() -> None:
    """QEMU from backports, unpacked beside the system's, whose libraries it uses: its emulation of
    SVM is what the nested machine stands on."""
    if QEMU.exists():
        return
    home = QEMU.parent
    shutil.rmtree(home, ignore_errors=True)
    for package in QEMU_PACKAGES:
        unpack(download(package, f"{codename()}-backports"), home)
    QEMU.write_text(f"""#!/bin/sh
export QEMU_MODULE_DIR={home}/usr/lib/x86_64-linux-gnu/qemu
exec {home}/usr/bin/qemu-system-x86_64 -L {home}/usr/share/qemu -L {home}/usr/share/seabios \\
	-L /usr/share/qemu -L /usr/lib/ipxe/qemu "$@"
""")
    QEMU.chmod(0o755)
    print(f"nested: {run(QEMU, '--version').splitlines()[0]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernel", choices=KERNELS, action="append", help="this one alone; may be given more than "
                        "once")
    options = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if subprocess.run([HERE.parent / "setup_packages", HERE / "packages.txt"]).returncode:
        return 1        # it has said why
    try:
        build_qemu()
        build_disk()
        for name in options.kernel or KERNELS:
            build_kernel(name)
    except BuildError as error:
        print(f"nested: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
