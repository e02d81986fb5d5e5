"""`splitvmm run`: a guest from its options to its exit status."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError
from ..timeline import span
from . import counters, guests, pictures, standard
from .parser import Attached

GUEST_STATUSES = 63     # the highest status of a guest's; sysexits.h, whose names we use, starts behind it
STATUSES = ("The exit status is the guest's, 0 to 63 (63 stands for anything above it, which is then said); 64 if "
            "the command cannot be done as given; 70 if KVM, or the emulator, could not go on with the guest; 74 if "
            "output cannot be written; 100 if the guest's kernel panicked and said so (pvpanic); 101 if it wants to "
            "restart and may not; 128 and the number of the signal that ended it: 130 for SIGINT, 143 for SIGTERM.")

log = logging.getLogger("splitvmm")


class GuestFailed(Exception):
    """A guest came to an end that is not its own; says how."""


def add(commands) -> None:
    run = commands.add_parser(
        "run", help="boot a guest and end with its exit status",
        description="Boot a guest and end with its exit status.",
        epilog=f"{STATUSES}  SIGTERM presses the power button of a guest that listens to it; a second one, or ten "
        "seconds, end it.  In any KEY=VALUE list, and in WHERE, a comma that belongs to a value or a path is written "
        "twice.")
    run.set_defaults(func=run_guest, parser=run)
    guest = run.add_argument_group("guest")
    guest.add_argument("guest", metavar="GUEST", type=guests.guest, nargs="?",
                       help="ELF file with a PVH note, Multiboot kernel, 64-bit ELF file, or a flat binary with "
                       f"--flat; {guests.HELP}")
    guest.add_argument("--kernel", metavar="FILE", type=Path, help="in GUEST's place: a Linux kernel, vmlinuz "
                       "(bzImage) or vmlinux (ELF with a PVH note), which may be compressed as a whole (gzip, xz, "
                       "bzip2).  It finds its devices by ACPI, its console is this terminal, and reboots start it "
                       "again")
    guest.add_argument("--firmware", metavar="seabios|FILE", help="in GUEST's place: a BIOS, which boots the first "
                       "disk by its boot sector; SeaBIOS, or the ROM in FILE")
    guest.add_argument("--keys", metavar="TEXT", default="", help="press these keys at the keyboard that a guest of "
                       "--firmware has; <enter>, <down>, <esc>, <f1> and others are keys by their names")
    guest.add_argument("--initrd", metavar="FILE", type=Path, help="initial RAM disk of the kernel")
    guest.add_argument("--append", "--cmdline", dest="cmdline", metavar="TEXT", default="", help="command line "
                       "for the guest; for GUEST, the addresses of its devices are added to it")
    guest.add_argument("--module", metavar="FILE", type=Path, action="append", default=[],
                       help="load FILE as a boot module; may be given more than once")
    guest.add_argument("--flat", metavar="ADDRESS",
                       help="load GUEST as it is at ADDRESS and start it there in real mode")
    reboots = guest.add_mutually_exclusive_group()
    reboots.add_argument("--no-reboot", action="store_true", help="end where the guest wants to restart")
    reboots.add_argument("--reboots", metavar="N", help="let it restart N times (default: any number of times, but "
                         "no more than 5 in a row within a minute of its start)")
    machine = run.add_argument_group("machine")
    machine.add_argument("--mem", metavar="SIZE", default="256M", help="guest memory (default: 256M)")
    machine.add_argument("--hugepages", metavar="HOW", default="auto", help="on, off or auto: guest memory in huge "
                         "pages, which memory that a kernel half reaches (offload on or auto) cannot be in; on: or it "
                         "is an error (default: auto)")
    machine.add_argument("--cpus", metavar="N", default="1", help="number of vCPUs (default: 1)")
    machine.add_argument("--executor", metavar="NAME[,blocks=N]", default="kvm", help="what runs the vCPUs: kvm; "
                         "auto: KVM, and after an exit an emulator for N basic blocks, or while it pays; or emulator: "
                         "that alone, without /dev/kvm (default: kvm)")
    machine.add_argument("--machine-ports", metavar="NAME", help="test: have the ports of QEMU's pc-testdev and "
                         "isa-debug-exit, at 0xf4, by which kvm-unit-tests ends with a status, raises interrupt lines "
                         "and tries I/O (default: none)")
    devices = run.add_argument_group("devices")
    virtio = ("offload=on|host|off|auto (who serves it: the kernel, this process in C, Python, or the best "
              "possible), transport=mmio|pci, packed=on|off (offer packed rings), async=on|off|auto (real I/O by "
              "the handler, through io_uring), poll=on|off|auto (with offload=on, io_uring's thread looks at a busy "
              "queue, whose driver need not ring: whenever it is busy, never, or while that pays; default: auto), "
              "idle_us=N (until nothing has come for so many microseconds, 1 to 1000000; default: 50)")
    devices.add_argument("--disk", metavar="[path=]FILE[,KEY=VALUE...]", action="append", default=[],
                         help="add a disk; may be given more than once.  Keys: readonly=on|off, format=raw (it is "
                         "one, whatever it looks like), "
                         "cache=writeback|none|writethrough (none goes past the page cache), queues=N, "
                         f"queue_size=N, serial=TEXT, {virtio}")
    devices.add_argument("--net", metavar="tap=NAME[,KEY=VALUE...]", action="append", default=[],
                         help="add a network card, plugged into a TAP interface (tap=NAME, made if it is not "
                         "there, or fd=N[:N...]) or a UNIX datagram socket (socket=PATH); may be given more "
                         "than once.  Keys: mac=ADDRESS, queues=PAIRS, mtu=BYTES, spoof=allow|drop (drop what "
                         "is sent from another address), tx_packets=N and tx_bytes=N (most per second), "
                         "queue_size=N, offload, transport, packed, async, poll and idle_us, as of --disk")
    devices.add_argument("--console", metavar="WHERE[,KEY=VALUE...]", action="append", default=[],
                         help="add a virtio console that leads to stdio, null, file=PATH (output alone) or "
                         "socket=PATH (a UNIX stream socket that listens).  Keys: offload, transport, packed, "
                         "async, poll and idle_us, as of --disk")
    devices.add_argument("--rng", metavar="KEY=VALUE...", nargs="?", const="",
                         help="add an entropy device.  Keys: offload, transport, packed, async, poll and idle_us, as "
                         "of --disk")
    devices.add_argument("--device", metavar="FILE.py[:CLASS][,KEY=VALUE...]", action="append", default=[],
                         help="add a device of one's own (splitvmm new), whose handler is built if it is out of date; "
                         "may be given more than once.  Keys: name=TEXT and offload; of a virtio device also "
                         "transport, packed, async, poll and idle_us, of any other base=ADDRESS and bus=mmio|port; and "
                         "the device's own (splitvmm doc)")
    devices.add_argument("--vga", metavar="std|none", default="none", help="add a display, as QEMU's standard one: "
                         "with --firmware the BIOS and a boot loader use it; --screenshot and --show show it (default: "
                         "none, and the BIOS uses the serial port)")
    devices.add_argument("--serial", metavar="WHERE",
                         help="where the serial port leads: stdout, stdio (input as well; a terminal is put in "
                         "raw mode, Ctrl-A x ends the guest), null, or file=PATH (default: stdio with --kernel, "
                         "or null if there is a --console, else stdout)")
    report = run.add_argument_group("reporting")
    report.add_argument("--stats", metavar="FORMAT[,file=FILE]", action=Attached, const="table", help=counters.HELP)
    report.add_argument("--record", metavar="FILE[,max=SIZE]", help="record what the devices do, in each half, to "
                        "FILE, which splitvmm trace shows; of SIZE at most (default: 256M)")
    report.add_argument("--screenshot", metavar="FILE[,device=NAME]", help=pictures.SCREENSHOT)
    report.add_argument("--show", metavar="WHERE[,device=NAME]", help=pictures.SHOW)
    report.add_argument("--verifier-log", metavar="FILE", type=Path, help="write all that the kernel's verifier "
                        "says of a handler that it refuses to FILE, which is emptied first")


def run_guest(options) -> int:
    from .ending import Ending
    config, reboots = _machine_config(options), _reboots(options)
    shown = pictures.Shown(options.screenshot, options.show)
    if options.kernel and config.has_exits:
        _warn_of_emulation()
    with Ending() as ending, counters.opened(options.stats, config) as tell_counters:
        return _run_on(config, ending, reboots, shown, tell_counters)


def _run_on(config, ending, reboots, shown, tell_counters) -> int:
    """Machine after machine, while the guest may restart; our exit status."""
    from time import monotonic

    from ..boot.power import PANICKED
    from .reboots import REFUSED
    while True:
        began = monotonic()
        try:
            machine, status = _run_once(config, ending, shown, tell_counters)
        except GuestFailed as error:
            if ending.status is None:
                raise
            standard.say(str(error))
        if ending.status is not None:
            return ending.status
        if machine.panicked:
            standard.say("the guest's kernel panicked")
            return PANICKED
        if not machine.rebooted or ending.asked:
            return _told(status)
        if refused := reboots.refused(monotonic() - began):
            standard.say(refused)
            return REFUSED
        config.fresh = False        # the guest's output goes on where it was


@contextmanager
def _devices_failures_told() -> Iterator[None]:
    """What the code of a user's own device raises, but for UserError, is told with its place; -vv has the way there."""
    try:
        yield
    except (UserError, GuestFailed):
        raise
    except BaseException as error:
        import traceback

        from ..kit.load import place_of
        place, last = place_of(error), traceback.extract_tb(error.__traceback__)[-1]
        if not place or (isinstance(error, SystemExit) and place != f"{last.filename}:{last.lineno}"):  # of a signal
            raise
        log.debug("the device's failure:", exc_info=error)
        raise GuestFailed(f"{place}: {type(error).__name__}: {error}") from None


def _run_once(config, ending, shown, tell_counters):
    """One machine from its building to its end, and the guest's status."""
    if ending.status is not None:       # a signal has come already
        return None, ending.status
    with _devices_failures_told():
        return _run_machine(config, ending, shown, tell_counters)


def _made(config):
    """Its machine.  Raises UserError."""
    from ..machine.ahead import Ahead
    with Ahead(config) as ahead:
        with span("imports"):
            from ..kvm.vm import NoKvm
            from ..machine.machine import Machine
        try:
            return Machine(config, ahead=ahead)
        except NoKvm as error:
            raise NoKvm(f"{error}; or --executor emulator, which does without") from None


def _run_machine(config, ending, shown, tell_counters):
    with _made(config) as machine:
        ending.machine = machine
        for name, why in machine.choices.items():
            if "asked" not in why:
                log.warning("%s: offload %s", name, why)
        try:
            with shown.of(machine):
                status = machine.run()
        except RuntimeError as error:
            from ..kit.load import place_of
            if place_of(error):
                raise
            raise GuestFailed(str(error)) from None
        if tell_counters:
            tell_counters(machine)
    ending.machine = None
    return machine, status


def _told(status: int) -> int:
    """A guest's status as ours."""
    if status > GUEST_STATUSES:
        log.warning("the guest ended with status %d; %d stands for it", status, GUEST_STATUSES)
    return min(status, GUEST_STATUSES)


def _reboots(options):
    from . import options as parse
    from .reboots import Reboots
    if options.no_reboot:
        return Reboots(0)
    return Reboots(None if options.reboots is None else parse.whole(options.reboots, "--reboots", 0, 1 << 32))


def _warn_of_emulation() -> None:
    from ..kvm.ring0 import emulated
    from ..kvm.vm import KvmError
    try:
        found = emulated()
    except KvmError:        # the machine will say so, if it matters
        found = ""
    if found:
        log.warning("%s: Linux will not boot on it; wanted --executor emulator, or see tools/nested", found)


def _refuse_contradictions(options) -> None:
    """What says twice which guest it is, or is no part of that one.  Raises UserError."""
    given = [name for name, value in (("GUEST", options.guest), ("--kernel", options.kernel),
                                      ("--firmware", options.firmware)) if value is not None]
    if len(given) != 1:
        raise UserError(f"{' and '.join(given)} given; wanted one of them" if given else
                        "none of GUEST, --kernel and --firmware given; wanted one of them")
    if options.initrd and not options.kernel:
        raise UserError("--initrd without --kernel; wanted --module for GUEST")
    if options.initrd and options.module:
        raise UserError("--initrd and --module given; wanted one of them")
    if options.firmware:
        for name, value in (("--append", options.cmdline), ("--module", options.module), ("--flat", options.flat)):
            if value:
                raise UserError(f"{name} and --firmware given; wanted one of them, as a BIOS loads what is on the disk")
    elif options.keys:
        raise UserError("--keys without --firmware; wanted both, as no other guest has a keyboard")


def _machine_config(options):
    from ..devmodel.exit_path import VCPUS
    from ..machine.config import ON_OFF_AUTO, VGAS, MachineConfig
    from . import options as parse
    from .kit import device_config
    linux, bios = options.kernel is not None, options.firmware is not None
    _refuse_contradictions(options)
    return MachineConfig(
        guest=options.kernel or options.guest, firmware=Path(options.firmware) if bios else None,
        keys=options.keys, vga=parse.choice(options.vga, "--vga", VGAS),
        memory=parse.size(options.mem, "--mem"),
        hugepages=parse.choice(options.hugepages, "--hugepages", ON_OFF_AUTO),
        cpus=parse.whole(options.cpus, "--cpus", 1, VCPUS), cmdline=options.cmdline,
        disks=[parse.disk(text, "pci" if bios else "mmio") for text in options.disk],
        nets=[parse.net(text) for text in options.net],
        consoles=[parse.console(text) for text in options.console],
        rng=None if options.rng is None else parse.rng(options.rng),
        devices=[device_config(text, options.guest) for text in options.device],
        modules=options.module, initrd=options.initrd,
        flat=None if options.flat is None else parse.whole(options.flat, "--flat", 0, 0xfffff),
        machine_ports="" if options.machine_ports is None else
        parse.choice(options.machine_ports, "--machine-ports", ("test",)),
        serial=parse.where(options.serial, "--serial") if options.serial else
        "stdout" if not (linux or bios) else "null" if options.console else "stdio",
        announce=not linux, trace=logging.getLogger("splitvmm.trace").isEnabledFor(logging.INFO),
        executor=parse.executor(options.executor), verifier_log=options.verifier_log,
        record=parse.record(options.record) if options.record else None)
