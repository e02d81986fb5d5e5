"""`splitvmm verify`: whether a device's halves stay in step, by random sequences of guest actions."""

from __future__ import annotations

from itertools import chain, product
from pathlib import Path

from ..errors import UserError
from . import options as parse
from . import standard

ONE_AT_A_TIME = {"async": "off", "disk": "sound"}       # as QEMU is shown requests


def add(commands) -> None:
    verify = commands.add_parser(
        "verify", help="check that a device's halves stay in step",
        description="Play random sequences of guest actions on a device in several modes at once; after each step all "
        "that a guest can see, and what the halves share, has to be equal.",
        epilog="The exit status is 0 if no difference was found, 1 if one was.  It is printed with the shortest "
        "sequence of steps that was found to make it.")
    verify.set_defaults(func=run, parser=verify)
    verify.add_argument("device", metavar="DEVICE", nargs="?", help="blk, net, console, rng, or a device of one's own, "
                        "FILE.py or FILE.py:CLASS; a Strategy in the file, if there is one, knows what its guests ask "
                        "for")
    verify.add_argument("--seconds", metavar="N", default="60", help="how long (default: 60)")
    verify.add_argument("--steps", metavar="N", help="how many steps at least, in place of "
                        "--seconds: each setting plays its part of them, in whole sequences of 400")
    verify.add_argument("--seed", metavar="N", help="which sequences (default: others each time)")
    verify.add_argument("--modes", metavar="LIST", help="which modes to compare with off (default: "
                        "off,host,on; off with --against)")
    verify.add_argument("--against", metavar="qemu", choices=("qemu",), help="compare off with QEMU's device of the "
                        "same kind, as far as a driver can see")
    verify.add_argument("--kvm", action="store_true", help="a guest's vCPU does the accesses, in each of the modes by "
                        "turns; off, which they are compared with, is as without; takes /dev/kvm")
    verify.add_argument("--transport", metavar="LIST", default="mmio", help="of a virtio device: mmio, pci or both "
                        "(default: mmio)")
    verify.add_argument("--rings", metavar="LIST", default="split,packed", help="likewise: split, packed or both "
                        "(default: both)")
    verify.add_argument("--async", metavar="LIST", help="of blk: whether requests may be in flight, "
                        "through an io_uring: off, on or both (default: both; off with --against)")
    verify.add_argument("--disk", metavar="LIST", help="of blk: sound, readonly, and with requests in flight direct "
                        "(past the page cache), and faulty, whose reads, writes and flushes fail, stop short or take "
                        "long, which takes /dev/fuse, root and the package mfusepy (default: all that can be had)")
    verify.add_argument("--mutants", action="store_true", help="in a checkout: put faults into both halves one by one, "
                        "and say which check finds each; of all devices")
    verify.add_argument("--workers", metavar="N", default="1", help="in so many processes at once (default: 1)")
    verify.add_argument("--dask", metavar="ADDRESS", help="on the workers of a Dask scheduler, tcp://host:8786, which "
                        "have splitvmm installed; takes the package distributed")
    verify.add_argument("--json", metavar="FILE", type=Path, help="write what was played and found to FILE")
    verify.add_argument("--save", metavar="FILE", type=Path, help="write a sequence that makes a difference to FILE "
                        "(default: DEVICE.sequence.json, here)")
    verify.add_argument("--replay", metavar="FILE", type=Path, help="play what --save wrote, and nothing else; or, of "
                        "a device without queues, the accesses of a guest that run --record has recorded")


def run(options) -> int:
    from ..verify.recorded import is_recording
    from ..verify.steps import load
    if options.mutants:
        return _mutants(options.device)
    if options.device is None:
        raise UserError("no DEVICE; wanted blk, net, console, rng or a device's FILE.py")
    name, strategy = strategy_of(options.device)
    default = "off" if options.against else "off,host,on"
    modes = _modes(default if options.modes is None else options.modes)
    if options.kvm and (options.against or options.replay):
        raise UserError(f"--kvm and {'--against' if options.against else '--replay'}; wanted one of them")
    if options.replay and is_recording(options.replay):
        return _replay_recording(name, strategy, modes, options.replay)
    if options.replay:
        return _replay(name, strategy, load(options.replay))
    if options.against:
        modes.append(_against(options.against, name))
    return _campaigns(options, name, strategy, _under_kvm(modes) if options.kvm else [modes],
                      _settings(options, strategy))


def _mutants(device: str | None) -> int:
    """The mutation score, of which only a checkout has the faults.  Raises UserError."""
    import subprocess
    import sys

    from ..paths import ROOT
    if not (ROOT / "tools/mutants").is_dir():
        raise UserError("--mutants: no sources here; wanted a checkout of splitvmm, in which `make` was run")
    return subprocess.run([sys.executable, "-m", "tools.mutants", *filter(None, [device])], cwd=ROOT).returncode


def strategy_of(spec: str):
    """The device's name and its strategy; what is out of date of it is built.  Raises UserError."""
    from ..kit.build import build
    from ..kit.load import is_file, named
    from ..verify import strategy as kinds
    from ..verify.strategies import ours
    if spec in ours():
        return spec, ours()[spec]()
    if not is_file(spec):
        raise UserError(f"{spec!r}; wanted {', '.join(ours())}, or a device's FILE.py, or FILE.py:CLASS")
    found = named(spec)
    if found.half is None:
        raise UserError(f"{spec}: {found.kind.__name__} is a schema; wanted its Python half")
    build(found, standard.say, ("on", "host"))
    own = [kind for kind in vars(found.module).values() if isinstance(kind, type) and issubclass(kind, kinds.Strategy)
           and kind.__module__ == found.module.__name__]
    return found.schema.c_name, own[0]() if own else kinds.strategy_of(found.half)


def _modes(text: str) -> list[str]:
    from ..kvm.bpf import why_not
    wanted = _list(text, "--modes", parse.MODES)
    if "on" in wanted and (reason := why_not()):
        raise UserError(f"--modes {text}: {reason}; without it: --modes off,host")
    return wanted


def _under_kvm(modes: list[str]) -> list[list[str]]:
    """The modes of each campaign.  Raises UserError where there is no KVM."""
    from ..kvm.vm import Vm
    from ..verify.lockstep import KVM
    Vm().close()
    return [["off", mode + KVM] for mode in modes]


def _against(other: str, name: str) -> str:
    """The mode that is none of ours.  Raises UserError where there is no QEMU, or it has no such device."""
    from ..verify.qemu.against import COMPARED
    from ..verify.qemu.process import TRIED, version
    if name not in COMPARED:
        raise UserError(f"{name} --against {other}: not compared with it; wanted one of {', '.join(COMPARED)}")
    if (found := version()) != TRIED:
        standard.say(f"QEMU {found}: what is known of differences was found with {TRIED}")
    return other


def _list(text: str, option: str, of: tuple[str, ...]) -> list[str]:
    found = parse.words(text, option)
    for word in found:
        if word not in of:
            raise UserError(f"{option} {text}: {word!r}; wanted a list of {', '.join(of)}")
    return found


def _settings(options, strategy) -> list[dict[str, str]]:
    """Each combination of what makes a difference to the device.  Raises UserError."""
    from ..verify.strategy import SETTINGS
    if options.disk and "disk" not in strategy.settings:
        raise UserError(f"--disk {options.disk}: {options.device} has no disk; wanted it with blk alone")
    if options.against:
        for name, only in ONE_AT_A_TIME.items():
            if getattr(options, name) not in (None, only):
                raise UserError(f"--{name} {getattr(options, name)} --against {options.against}; wanted {only} with it")
    given = {name: _list(getattr(options, name) or _default(name, options.against), f"--{name}", SETTINGS[name])
             for name in strategy.settings}
    if not (found := strategy.combinations(given)):
        raise UserError(f"--async {','.join(given['async'])} --disk {','.join(given['disk'])}: no such combination; "
                        "wanted sound, readonly with --async off, direct or faulty with on")
    return found


def _default(name: str, against: str | None) -> str:
    """Of a setting that was not given."""
    if against:
        return ONE_AT_A_TIME[name]
    return "off,on" if name == "async" else _disks()


def _disks() -> str:
    """All that can be had; of the others it is said why not."""
    from ..verify.disks import why_not
    from ..verify.strategy import SETTINGS
    lacking = {kind: reason for kind in SETTINGS["disk"] if (reason := why_not(kind))}
    for kind, reason in lacking.items():
        standard.say(f"no disk={kind}: {reason}")
    return ",".join(kind for kind in SETTINGS["disk"] if kind not in lacking)


def _campaigns(options, name: str, strategy, groups: list[list[str]], settings: list[dict[str, str]]) -> int:
    """Each group of modes in each setting, one after the other, each its part of the time."""
    import json
    import time

    from ..verify.campaign import Result
    from ..verify.report import table
    from . import workers
    seed = parse.whole(options.seed, "--seed", 0, (1 << 63) - 1) if options.seed else time.time_ns() & 0xffffffff
    steps = parse.whole(options.steps, "--steps", 1, 1 << 40) if options.steps else None
    campaigns = list(product(settings, groups))
    seconds = None if steps else parse.whole(options.seconds, "--seconds", 1, 1 << 30) / len(campaigns)
    count = parse.whole(options.workers, "--workers", 1, 1024)
    if options.json and not standard.may_write(options.json):
        raise UserError(f"--json {options.json}: cannot be written there; wanted a file to write")
    total, results = Result(), []
    with workers.player(name, strategy, count, options.dask) as play:
        for setting, modes in campaigns:
            result = play(workers.Share(options.device, modes, setting, seed, seconds,
                                        steps and -(-steps // len(campaigns))))
            results.append((setting, result))
            total.add(result)
            if result.difference:
                break
    standard.write(table(name, seed, strategy, results), None)
    if options.json:
        with standard.written(options.json, "--json"):
            options.json.write_text(json.dumps(_plain(name, seed, groups, results), indent=1) + "\n")
    return _told(total.difference, total.sequence, options.save or Path(f"{name}.sequence.json"))


def _told(difference, sequence, path: Path) -> int:
    from ..verify.steps import save, script
    if difference is None:
        return 0
    standard.write(f"\n{difference}\n\n{script(sequence.steps)}", None)
    with standard.written(path, "--save"):
        save(sequence, path)
    standard.write(f"\nsaved in {path}; --replay plays it again\n", None)
    return 1


def _replay(name: str, strategy, sequence) -> int:
    from ..verify.campaign import Campaign
    from ..verify.lockstep import KVM, QEMU
    from ..verify.steps import script
    if sequence.device != name:
        raise UserError(f"--replay: a sequence of {sequence.device}; wanted one of {name}")
    ours = [mode for mode in sequence.executors if mode != QEMU]
    if len(under_kvm := [mode for mode in ours if mode.endswith(KVM)]) > 1:
        raise UserError(f"--replay: {', '.join(under_kvm)}; wanted one under KVM")
    _modes(",".join({mode.removesuffix(KVM): 0 for mode in ours}))
    executors = [*ours, *([_against(QEMU, name)] if QEMU in sequence.executors else [])]
    difference = Campaign(strategy, name, executors, sequence.setting).replay(sequence.steps)
    standard.write(f"{difference or 'no difference'}\n\n{script(sequence.steps)}", None)
    return int(difference is not None)


def _replay_recording(name: str, strategy, executors: list[str], path: Path) -> int:
    from ..verify.campaign import Campaign
    from ..verify.recorded import steps_of
    from ..verify.steps import script
    steps = steps_of(path, name)
    difference = Campaign(strategy, name, executors, {}).replay(steps)
    if difference:
        standard.write(f"{difference}\n\n{script(steps[:difference.number])}", None)
        return 1
    standard.write(f"{len(steps):,} accesses of a guest's; no difference\n", None)
    return 0


def _plain(name: str, seed: int, groups: list[list[str]], results: list) -> dict:
    return {"device": name, "seed": seed, "executors": list(dict.fromkeys(chain.from_iterable(groups))), "campaigns": [
        {"setting": setting, "steps": result.steps, "sequences": result.sequences, "seconds": round(result.seconds, 3),
         "kinds": dict(result.kinds), "handled": dict(result.handled), "declined": result.declined,
         "difference": str(result.difference) if result.difference else None} for setting, result in results]}
