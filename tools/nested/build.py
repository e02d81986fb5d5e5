"""Build what the nested machine boots: kernels, initial RAM disks, and a QEMU recent enough.

    python -m tools.nested.build [--kernel 612|61 ...]

Packages come through the system's own apt configuration: its first Debian mirror also has the
releases that the system does not use itself.  Nothing of the system is changed.
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

from .files import DISK, FILES, GUEST_MODULES, HERE, KERNELS, L1_MODULES, QEMU, boot

DEBS, APT = FILES / "debs", FILES / "apt"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
QEMU_PACKAGES = ("qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios")
DISK_BYTES = 224 << 20
GUEST_TOOLS = ("/usr/bin/fio", "/usr/bin/iperf3")
COMPRESSION = ((b"\xfd7zXZ", ["xz", "-dc", "--single-stream"]), (b"\x28\xb5\x2f\xfd", ["zstd", "-dcq"]),
               (b"\x1f\x8b", ["gzip", "-dcq"]))      # how a kernel's payload starts
PAYLOAD_AT = 0x248                              # in the setup header: offset and length of the payload


class BuildError(Exception):
    """Something is missing; says what."""


def run(*command, **options) -> str:
    try:
        done = subprocess.run([str(c) for c in command], text=True, capture_output=True, **options)
    except FileNotFoundError:
        raise BuildError(f"no {command[0]}; wanted the packages of {HERE / 'packages.txt'}") from None
    if done.returncode:
        raise BuildError(f"{command[0]}: {done.stderr.strip()[-500:]}")
    return done.stdout


# Packages

def mirror() -> str:
    """The first Debian mirror that apt is configured with."""
    for path in (*sorted(Path("/etc/apt/sources.list.d").glob("*.sources")), Path("/etc/apt/sources.list"),
                 *sorted(Path("/etc/apt/sources.list.d").glob("*.list"))):
        text = path.read_text() if path.exists() else ""
        for found in re.findall(r"^(?:URIs:|deb(?: \[[^]]*\])?)\s+(\S+)", text, re.MULTILINE):
            if "security" not in found:
                return found
    raise BuildError("no Debian mirror in /etc/apt; wanted one, to have kernels from")


def apt_options(release: str) -> list[str]:
    """Options by which apt sees this release alone, with a state of its own."""
    home = APT / release
    for name in ("lists/partial", "cache/archives/partial"):
        (home / name).mkdir(parents=True, exist_ok=True)
    sources = home / "sources"
    sources.write_text(f"Types: deb\nURIs: {mirror()}\nSuites: {release}\nComponents: main\nSigned-By: {KEYRING}\n")
    sources = sources.rename(home / "release.sources")
    options = {"Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "/dev/null",
               "Dir::Etc::preferencesparts": "/dev/null", "Dir::State::lists": home / "lists",
               "Dir::Cache": home / "cache", "APT::Sandbox::User": "root"}
    made = [f"-o{name}={value}" for name, value in options.items()]
    if not list((home / "lists").glob("*Packages*")):
        run("apt-get", *made, "-q", "update")
    return made


def download(package: str, release: str | None = None) -> Path:
    """A package's file, fetched if it is not here yet."""
    DEBS.mkdir(parents=True, exist_ok=True)
    marker = DEBS / f"{package}.{release or 'system'}"
    if not marker.exists():
        options = apt_options(release) if release else []
        run("apt-get", *options, "download", package, cwd=DEBS)
        newest = max(DEBS.glob(f"{package}_*.deb"), key=lambda path: path.stat().st_ctime)
        marker.write_text(newest.name)
    return DEBS / marker.read_text()


def unpack(deb: Path, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    run("dpkg-deb", "-x", deb, into)


def kernel_package(release: str | None, version: str) -> str:
    """The package that `linux-image-amd64` stands for."""
    options = apt_options(release) if release else []
    shown = run("apt-cache", *options, "show", "linux-image-amd64")
    found = re.search(rf"^Depends: (linux-image-{re.escape(version)}\S*-amd64) ", shown, re.MULTILINE)
    if not found:
        raise BuildError(f"no kernel {version} in {release or 'the system release'}; wanted linux-image-amd64 to be "
                         "one")
    return found[1]


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


def build_kernel(name: str) -> None:
    release, version = KERNELS[name]
    home, tree = boot(name), FILES / "unpacked"
    built = home / "version"
    if built.exists() and newest_source() < built.stat().st_mtime:
        return
    shutil.rmtree(home, ignore_errors=True)
    shutil.rmtree(tree, ignore_errors=True)
    home.mkdir(parents=True)
    unpack(download(kernel_package(release, version), release), tree)
    if not (tree / "lib").exists():
        (tree / "lib").symlink_to("usr/lib")
    full = next((tree / "lib/modules").iterdir()).name
    run("depmod", "-b", tree, full)
    shutil.copy(tree / f"boot/vmlinuz-{full}", home / "vmlinuz")
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


def codename() -> str:
    found = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    if not found:
        raise BuildError("/etc/os-release names no release; wanted Debian's")
    return found[1]


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
