"""A device's parts built, as far as they are out of date: its C header, both builds of its handler, its guest.

They come into the folder `build` beside the file of the class that names the handler.  A part is made anew when a
file that it was made of is newer (the compiler says which those are), or the command that makes it is another one.
Builds in one folder take turns.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from ..device.register_device import RegisterDevice
from ..devmodel.schema import Device
from ..errors import UserError
from ..paths import BUILD, GUESTS, HEADERS
from . import children
from .load import Named, halves

WARNINGS = ("-Wall", "-Werror", "-Wcast-qual", "-Wno-unused-function",      # what userspace writes is const in headers
            "-Wno-unused-command-line-argument")    # by clang, where it is the only compiler
BPF = ("-O2", "-g", "-target", "bpf", "-mcpu=v3", "-fno-strict-aliasing", *WARNINGS)
NATIVE = ("-O2", "-g", "-fPIC", "-shared", "-fno-strict-aliasing", *WARNINGS)
GUEST = ("-O2", "-g", "-ffreestanding", "-fno-pic", "-no-pie", "-static", "-nostdlib", "-mno-red-zone",
         "-mgeneral-regs-only", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fcf-protection=none",
         "-mcmodel=small", "-Wall", "-Werror", "-Wno-unused-function", "-Wno-unused-command-line-argument",
         "-Wl,--build-id=none", "-Wl,--no-warn-rwx-segments", "-Wl,-z,noexecstack")
RUNTIME = ("start.S", "guest.c", "virtio.c", "virtio_mmio.c", "virtio_pci.c", "ring_split.c", "ring_packed.c")


PARTS = ("on", "host", "guest")      # what there is to build: for each mode its handler, and the guest
FOR_MODE = {"on": ("on",), "host": ("host",), "auto": ("on", "host"), "off": ()}


@dataclass(frozen=True)
class Tool:
    """A compiler: the first of `names` that is there."""

    names: tuple[str, ...]
    package: str
    builds: str

    def found(self) -> str | None:
        return next(filter(None, map(shutil.which, self.names)), None)


CLANG = Tool(("clang", "clang-19", "clang-16", "clang-14"), "clang", "the kernel's half of devices")
CC = Tool(("cc", "gcc", "clang"), "gcc", "the native half of devices, and guests")


@dataclass(frozen=True)
class Part:
    """One file to be built from `source`: by `tool`, with `flags` and then what says where it goes."""

    target: Path
    source: Path
    tool: Tool
    flags: tuple[str, ...]


def build(found: Named, say: Callable[[str], None] = lambda text: None,
          wanted: Collection[str] = PARTS) -> list[Path]:
    """Build what is out of date, of `wanted`, of the devices in a module and the one that was named; the files that
    were made.  Raises UserError."""
    made, kinds = [], _kinds(found)
    for folder in dict.fromkeys([*map(_folder, kinds), found.path.parent / "build"]):
        with _alone_in(folder):
            made += _built_in(folder, found, kinds, say, wanted)
    return made


def _built_in(folder: Path, found: Named, kinds: list[type[RegisterDevice]], say: Callable[[str], None],
              wanted: Collection[str]) -> list[Path]:
    made: list[Path] = []
    here = [kind for kind in kinds if _folder(kind) == folder]
    for schema in dict.fromkeys([kind.schema for kind in here] or ([] if kinds else [found.schema])):
        if _header(folder, found, schema):
            made.append(folder / f"{schema.c_name}.gen.h")
            say(f"building {_shown(made[-1], found)}")
    stale = list(filter(_stale, _parts(folder, [kind.handler for kind in here if kind.handler], wanted)))
    _check_tools(stale)
    for part in stale:
        say(f"building {_shown(part.target, found)}")
        _make(part)
        made.append(part.target)
    return made


def _kinds(found: Named) -> list[type[RegisterDevice]]:
    """Python halves whose handlers are a user's own."""
    kinds = dict.fromkeys([*halves(found.module), *filter(None, [found.half])])
    return [kind for kind in kinds if kind.handlers != BUILD or not kind.handler]


def _folder(kind: type[RegisterDevice]) -> Path:
    if kind.handler:
        return kind.handlers
    file = sys.modules[kind.__module__].__file__
    assert file     # it declares something
    return Path(file).resolve().parent / "build"


def _shown(path: Path, found: Named) -> str:
    return os.path.relpath(path, found.path.parent)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Nobody else builds there, for the block.  Raises UserError."""
    try:
        folder.mkdir(exist_ok=True)
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if folder.is_dir():     # not ours to write: what is there may be up to date
            yield
            return
        raise UserError(f"{folder}: {error.strerror}; wanted a folder to build in") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _write(path: Path, text: str) -> None:
    """All of it or nothing.  Raises UserError."""
    fresh = _beside(path, "new")
    try:
        fresh.write_text(text, "utf-8")
        fresh.replace(path)
    except (OSError, UnicodeError) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}; wanted a folder to build in") from None
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)


def _header(folder: Path, found: Named, schema: type[Device]) -> bool:
    """Written where it differs, so that what includes it is not built for nothing."""
    text, path = found.header(schema), folder / f"{schema.c_name}.gen.h"
    with suppress(OSError, UnicodeError):
        if path.read_text("utf-8") == text:
            return False
    _write(path, text)
    return True


def _parts(folder: Path, handlers: list[str], wanted: Collection[str]) -> Iterator[Part]:
    here, includes = folder.parent, (f"-I{folder}", f"-I{HEADERS}")
    for handler in dict.fromkeys(handlers):
        source = here / f"{handler}.c"
        if not source.exists():
            raise UserError(f"{source}: there is no such file; wanted the handler that a class there names")
        if "on" in wanted:
            yield Part(folder / f"{handler}.bpf.o", source, CLANG,
                       (*BPF, *includes, *_system_includes(), "-c", str(source)))
        if "host" in wanted:
            yield Part(folder / f"{handler}.so", source, CC, (*NATIVE, *includes, str(source)))
    guest = here / "guest.c"
    if "guest" in wanted and guest.exists():
        runtime = [str(GUESTS / name) for name in RUNTIME]
        yield Part(folder / "guest.elf", guest, CC, (*GUEST, f"-Wl,-T,{GUESTS / 'guest.ld'}", *includes,
                                                     f"-I{GUESTS}", str(guest), *runtime))


def _system_includes() -> tuple[str, ...]:
    """Where Debian has asm/types.h, which clang does not look for with -target bpf."""
    return tuple(f"-isystem{path}" for path in Path("/usr/include").glob(f"{platform.machine()}-linux-gnu"))


# What is out of date

def _beside(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{kind}")


def _stale(part: Part) -> bool:
    """Whether a part is to be made: it is not there, its command is new, or something that it was made of is.  A
    compiler that is there no more is no reason."""
    try:
        record = json.loads(_beside(part.target, "made").read_text())
        made, tool = part.target.stat().st_mtime_ns, part.tool.found()
        if record["flags"] != list(part.flags) or record["tool"] != (tool or record["tool"]) or not record["files"]:
            return True
        return any(os.stat(name).st_mtime_ns > made for name in record["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return True


def _dependencies(rules: str) -> list[str]:
    """The files in rules for make, as compilers write them: `\\ `, `\\#` and `$$` are characters of a name."""
    lines = rules.replace("\\\n", " ").replace("\\ ", "\0").splitlines()
    return [name.replace("\0", " ").replace("\\#", "#").replace("$$", "$")
            for line in lines for name in line.partition(": ")[2].split()]


def missing(tools: Collection[Tool]) -> dict[str, str]:
    """What is not here, and what it is for -> the Debian package that has it."""
    found = {f"{tool.names[0]}, which builds {tool.builds}": tool.package
             for tool in (CLANG, CC) if tool in tools and not tool.found()}
    if CLANG in tools and not any((Path(place) / "bpf" / "bpf_helpers.h").exists()
                                  for place in ("/usr/include", "/usr/local/include")):
        found["bpf/bpf_helpers.h, which handlers include"] = "libbpf-dev"
    return found


def _check_tools(parts: list[Part]) -> None:
    """All at once.  Raises UserError."""
    if found := missing([part.tool for part in parts]):
        raise UserError(f"not here: {'; '.join(found)}.  Wanted them installed, as by apt-get install "
                        f"{' '.join(found.values())}")


def _make(part: Part) -> None:
    """The record last: without one a part is made again.  Raises UserError."""
    tool, fresh = part.tool.found(), _beside(part.target, "new")
    assert tool     # _check_tools() has seen to it
    try:
        _compile(part, tool, "-o", str(fresh))
        files = _dependencies(_compile(part, tool, "-MM"))      # of all sources: in a file, each replaces the last
        if part.tool is CLANG:
            _check_tables(part, fresh)
        fresh.replace(part.target)      # a process that has the old one mapped keeps it
    except OSError as error:
        raise UserError(f"{part.target}: {error.strerror}; wanted a folder to build in") from None
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
    _write(_beside(part.target, "made"), json.dumps({"tool": tool, "flags": part.flags, "files": files}))


def _check_tables(part: Part, built: Path) -> None:
    """Constant tables that clang has put where the BTF that it wrote does not have them: the kernel refuses to load
    those.  Raises UserError."""
    with built.open("rb") as file:
        elf = ELFFile(file)
        merged = {index for index, section in enumerate(elf.iter_sections())
                  if re.match(r"\.rodata\.(cst|str)", section.name)}
        names = [symbol.name for table in elf.iter_sections() if isinstance(table, SymbolTableSection)
                 for symbol in table.iter_symbols()
                 if symbol["st_shndx"] in merged and symbol["st_info"]["type"] == "STT_OBJECT"]
    if names:
        raise UserError(f"{part.source}: {', '.join(names)}: a constant table, which clang puts where no BPF program "
                        "may have it; wanted it declared `static const volatile`")


def _compile(part: Part, tool: str, *more: str) -> str:
    """What the compiler prints.  Raises UserError."""
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=part.target.parent) as own:    # what it leaves if it is ended
        done = children.run([tool, *part.flags, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            errors="surrogateescape", stdin=subprocess.DEVNULL, env={**os.environ, "TMPDIR": own})
    if done.returncode:
        raise UserError(_refused(part, tool, done))
    return done.stdout


def _refused(part: Part, tool: str, done: subprocess.CompletedProcess) -> str:
    """What the compiler says; of one that crashed, in a line."""
    said = done.stderr.encode(errors="replace").decode().strip()
    crashed = re.search(r"^PLEASE submit|internal compiler error", said, re.MULTILINE)
    if done.returncode > 0 and not crashed:
        return f"{part.source}: does not build\n{said}"
    first = next((line for line in said.splitlines() if "error:" in line.lower()), said.partition("\n")[0])
    how = signal.Signals(-done.returncode).name if done.returncode < 0 else f"status {done.returncode}"
    return f"{part.source}: {tool} ended with {how}: {first.strip() or 'it said nothing'}"
