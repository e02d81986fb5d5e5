"""Commands for devices of one's own: new, build, test, doc."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from ..errors import UserError
from . import standard

DEVICE = "FILE.py, FILE.py:CLASS, package.module:CLASS, or one that comes with splitvmm, such as blk"


def add(commands) -> None:
    new = commands.add_parser(
        "new", help="write the files of a new device, which works",
        description="Write the files of a new device, which works: its schema and Python half, its handler, a guest, "
        "tests.")
    new.set_defaults(func=make_new, parser=new)
    new.add_argument("name", metavar="NAME", help="of the device: lower-case letters, digits and underscores")
    new.add_argument("--virtio", action="store_true", help="a virtio device, instead of one with registers")
    new.add_argument("--directory", metavar="DIR", type=Path, help="the folder to make (default: NAME, here)")
    build = commands.add_parser(
        "build", help="build what is out of date of a device",
        description="Build what is out of date of a device, into the folder build beside it: its C header, its handler "
        "for the kernel (which takes clang) and for this process, and guest.c, if that is there.")
    build.set_defaults(func=build_device, parser=build)
    build.add_argument("device", metavar="DEVICE", help="FILE.py or FILE.py:CLASS")
    test = commands.add_parser(
        "test", help="build a device and run its tests",
        description="Build a device and run the tests beside it, test_*.py, by pytest.  What follows -- is for pytest.")
    test.set_defaults(func=test_device, parser=test)
    test.add_argument("device", metavar="DEVICE", help="FILE.py or FILE.py:CLASS")
    test.add_argument("arguments", metavar="ARGUMENT", nargs="*", help="for pytest, behind --")
    doc = commands.add_parser(
        "doc", help="print a device's register map",
        description="Print what a driver sees of a device: registers, fields, who takes a write, reset values, reasons "
        "to decline, queues, memory.")
    doc.set_defaults(func=print_doc, parser=doc)
    doc.add_argument("device", metavar="DEVICE", help=DEVICE)
    doc.add_argument("--html", action="store_true", help="as HTML (default: Markdown)")
    doc.add_argument("-o", "--output", metavar="FILE", type=Path, help="write it to FILE")


def make_new(options) -> int:
    from ..kit.new import new
    where = options.directory or Path(options.name)
    for path in new(options.name, options.virtio, where):
        print(f"wrote {path}")
    file = where / f"{options.name}.py"
    device, guest = shlex.quote(str(file).replace(",", ",,")), shlex.quote(str(where / "build" / "guest.elf"))
    print(f"next:  splitvmm test {shlex.quote(str(file))}\n       splitvmm run --device {device} {guest}")
    return 0


def build_device(options) -> int:
    from ..kit.build import build
    made = build(_named_file(options.device), print)
    if not made:
        print("nothing to build")
    return 0


def test_device(options) -> int:
    from ..kit.build import build
    from ..kit.run_tests import check_pytest, run_tests
    check_pytest()
    found = _named_file(options.device)
    build(found, standard.say)
    return run_tests(found, options.arguments)


def print_doc(options) -> int:
    from ..kit.doc import html, markdown
    from ..kit.load import named
    found = named(options.device)
    standard.write((html if options.html else markdown)(found.schema, found.half), options.output)
    return 0


def _named_file(spec: str):
    from ..kit.load import is_file, named
    if not is_file(spec):
        raise UserError(f"{spec!r}; wanted a device's FILE.py, or FILE.py:CLASS")
    return named(spec)


def device_config(text: str, guest: Path | None = None):
    """One --device, as a DeviceConfig; what `run` needs of it, which may be the guest, is built if it is out of date.
    Raises UserError."""
    from ..device import options as own
    from ..kit.build import FOR_MODE, build
    from ..kit.load import is_file, named
    from . import options as parse
    spec, *rest = parse.parts(text)
    found, given = named(spec), parse.keyed(rest, f"--device {text}")
    if (kind := found.half) is None:
        raise UserError(f"--device {spec}: {found.kind.__name__} is a schema; wanted its Python half, a class "
                        "derived from RegisterDevice")
    name = given.pop("name", found.schema.c_name)
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise UserError(f"--device {spec} name {name!r}; wanted letters, digits, '_', '.' and '-'")
    config = _config(kind, given, lambda: kind(name, **values))
    values = own.parse(kind, given, f"--device {spec}", _keys(kind))
    wanted = [*FOR_MODE[config.offload]] if kind.handler else []
    if guest and guest.resolve() == found.path.parent / "build" / "guest.elf":
        wanted.append("guest")
    if wanted and is_file(spec):
        build(found, standard.say, wanted)
    return config


def _keys(kind) -> tuple[str, ...]:
    """Those that every device of its kind has, beside its name."""
    from ..virtio.virtio_device import VirtioDevice
    from . import options as parse
    return parse.VIRTIO if issubclass(kind, VirtioDevice) else ("offload", "base", "bus")


def _config(kind, given: dict[str, str], make):
    """The keys that every device has, taken out of `given`.  Raises UserError."""
    from ..machine.config import DeviceConfig
    from . import options as parse
    ours = {key: given.pop(key) for key in _keys(kind) if key in given}
    base = parse.whole(ours["base"], "--device base", 0, (1 << 48) - 1) if "base" in ours else None
    bus = parse.choice(ours.get("bus", "mmio"), "--device bus", ("mmio", "port"))
    if bus == "port" and base is None:
        raise UserError("--device bus=port without base; wanted its first port, as base=0x300")
    return DeviceConfig(make, base=base, bus=bus, **parse.virtio(ours, "--device"))
