"""A device's parts built, as far as they are out of date: its C header, both builds of its handler, its guest.

They come into the folder `build` beside the device's file.  A part is made anew when a file that it was
made of is newer (the compiler says which those are), or the command that makes it is another one.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..devmodel.schema import Device
from ..errors import UserError
from ..paths import GUESTS, HEADERS
from .load import Named, halves

WARNINGS = ("-Wall", "-Werror", "-Wcast-qual", "-Wno-unused-function")     # what userspace writes is const in headers
BPF = ("-O2", "-g", "-target", "bpf", "-mcpu=v3", "-fno-strict-aliasing", *WARNINGS)
NATIVE = ("-O2", "-g", "-fPIC", "-shared", "-fno-strict-aliasing", *WARNINGS)
GUEST = ("-O2", "-g", "-ffreestanding", "-fno-pic", "-no-pie", "-static", "-nostdlib", "-mno-red-zone",
         "-mgeneral-regs-only", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fcf-protection=none",
         "-mcmodel=small", "-Wall", "-Werror", "-Wno-unused-function", "-Wl,--build-id=none",
         "-Wl,--no-warn-rwx-segments", "-Wl,-z,noexecstack")
RUNTIME = ("start.S", "guest.c", "virtio.c", "virtio_mmio.c", "virtio_pci.c", "ring_split.c", "ring_packed.c")


@dataclass(frozen=True)
class Part:
    """One file to be built from `source` by `command`, which is given the rest."""

    target: Path
    source: Path
    command: tuple[str, ...]


def build(found: Named, say: Callable[[str], None] = lambda text: None) -> list[Path]:
    """Build what is out of date of the devices in a module; the files that were made.  Raises UserError."""
    made = []
    schemas = [half.schema for half in halves(found.module)] or [found.schema]
    for schema in schemas:
        made += _header(found, schema, say)
    for part in _parts(found):
        if _stale(part):
            say(f"building {part.target.relative_to(found.path.parent)}")
            _run(part)
            made.append(part.target)
    return made


def _folder(found: Named) -> Path:
    return found.path.parent / "build"


def _header(found: Named, schema: type[Device], say: Callable[[str], None]) -> list[Path]:
    """Written where it differs, so that what includes it is not built for nothing."""
    text, path = found.header(schema, found.path.name), _folder(found) / f"{schema.c_name}.gen.h"
    if path.exists() and path.read_text() == text:
        return []
    say(f"building {path.relative_to(found.path.parent)}")
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; wanted a folder to build in") from None
    return [path]


def _parts(found: Named) -> list[Part]:
    here, folder = found.path.parent, _folder(found)
    includes = (f"-I{folder}", f"-I{HEADERS}")
    parts = []
    for handler in dict.fromkeys(kind.handler for kind in halves(found.module) if kind.handler):
        source = here / f"{handler}.c"
        if not source.exists():
            raise UserError(f"{source}: there is no such file; wanted the handler that {found.path.name} names")
        parts.append(Part(folder / f"{handler}.bpf.o", source,
                          (_clang(), *BPF, *includes, *_system_includes(), "-c", str(source))))
        parts.append(Part(folder / f"{handler}.so", source, (_cc(), *NATIVE, *includes, str(source))))
    guest = here / "guest.c"
    if guest.exists():
        runtime = [str(GUESTS / name) for name in RUNTIME]
        parts.append(Part(folder / "guest.elf", guest, (_cc(), *GUEST, f"-Wl,-T,{GUESTS / 'guest.ld'}", *includes,
                                                        f"-I{GUESTS}", str(guest), *runtime)))
    return parts


def _tool(names: tuple[str, ...], package: str, what: str) -> str:
    for name in names:
        if path := shutil.which(name):
            return path
    raise UserError(f"no {names[0]} here, which builds {what}; wanted it installed, as by apt-get install {package}")


def _clang() -> str:
    if not any((Path(place) / "bpf" / "bpf_helpers.h").exists() for place in ("/usr/include", "/usr/local/include")):
        raise UserError("no bpf/bpf_helpers.h here, which handlers include; wanted libbpf's headers, as by apt-get "
                        "install libbpf-dev")
    return _tool(("clang", "clang-19", "clang-16", "clang-14"), "clang", "the kernel's half of devices")


def _cc() -> str:
    return _tool(("cc", "gcc", "clang"), "gcc", "the native half of devices, and guests")


def _system_includes() -> tuple[str, ...]:
    """Where Debian has asm/types.h, which clang does not look for with -target bpf."""
    return tuple(f"-isystem{path}" for path in Path("/usr/include").glob(f"{platform.machine()}-linux-gnu"))


# What is out of date

def _beside(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{kind}")


def _stale(part: Part) -> bool:
    """Whether a part is to be made: it is not there, its command is new, or something that it was made of is."""
    try:
        made = part.target.stat().st_mtime_ns
        if _beside(part.target, "command").read_text() != "\n".join(part.command):
            return True
        return any(os.stat(name).st_mtime_ns > made for name in _dependencies(_beside(part.target, "d").read_text()))
    except OSError:
        return True


def _dependencies(rules: str) -> list[str]:
    """The files in rules for make, as compilers write them: a blank in a name has a backslash before it."""
    lines = rules.replace("\\\n", " ").replace("\\ ", "\0").splitlines()
    return [name.replace("\0", " ") for line in lines for name in line.partition(": ")[2].split()]


def _run(part: Part) -> None:
    fresh = _beside(part.target, "new")
    _compile(part, "-o", str(fresh))
    _beside(part.target, "d").write_text(_compile(part, "-MM"))     # of all sources: in a file, each replaces the last
    _beside(part.target, "command").write_text("\n".join(part.command))
    fresh.replace(part.target)      # a process that has the old one mapped keeps it


def _compile(part: Part, *more: str) -> str:
    """What the compiler prints.  Raises UserError."""
    done = subprocess.run([*part.command, *more], capture_output=True, text=True)
    if done.returncode:
        _beside(part.target, "new").unlink(missing_ok=True)
        raise UserError(f"{part.source}: does not build\n{done.stderr.strip()}")
    return done.stdout
