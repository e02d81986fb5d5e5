"""Run a command as root in a Linux with hardware-style KVM, inside this machine.

    python -m tools.nested.run [options] 'COMMAND'

QEMU emulates a machine with AMD SVM, whose root file system is this one's, read-only under an
overlay: what is written there is lost, but for directories given with --rw.  What COMMAND prints
comes out here, and its exit status is this program's.  Own statuses: 124 timeout, 125 the machine
ended without a status (its console is shown), 126 it could not be started, 130 interrupted.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .files import KERNELS, QEMU, boot

COMMAND_LINE = ("console=ttyS0 quiet loglevel=4 panic=-1 oops=panic mitigations=off nokaslr audit=0 tsc=reliable "
                "no_timer_check random.trust_cpu=on lsm=landlock,lockdown,yama,bpf nowatchdog "
                "rcupdate.rcu_cpu_stall_timeout=120")
SHARES = 4          # --rw
TIMEOUT, LOST, UNSTARTED, INTERRUPTED = 124, 125, 126, 130
PDEATHSIG = 1       # prctl(2)


class Interrupted(Exception):
    """A signal asked us to end."""


class SetupError(Exception):
    """It cannot be started as asked."""


class Machine:
    """One run of the emulated machine; a context manager."""

    def __init__(self, options):
        self.options, self.home = options, boot(options.kernel)
        if not (self.home / "version").exists():
            raise SetupError(f"{self.home}: no kernel; wanted `python -m tools.nested.build` to have been run")
        if len(options.rw) > SHARES:
            raise SetupError(f"{len(options.rw)} times --rw; wanted at most {SHARES}")
        self.folder = Path(tempfile.mkdtemp(prefix="splitvmm-nested-"))
        self.deadline = time.monotonic() + options.timeout
        self.process: subprocess.Popen | None = None
        self.shares = [Path(path).resolve() for path in options.rw]
        self._leave_word()

    def _leave_word(self) -> None:
        """What stage 2 finds in the folder that it shares with us."""
        options = self.options
        environment = "".join(f"{name}={shlex.quote(value)}\n" for name, _, value in
                              (given.partition("=") for given in options.env))
        texts = {"cmd": options.command + "\n", "cwd": os.path.abspath(options.directory) + "\n", "env": environment,
                 "rwtags": " ".join(f"rw{i}" for i in range(len(self.shares))) + "\n"}
        texts |= {f"rw.rw{i}": f"{path}\n" for i, path in enumerate(self.shares)}
        for name, text in texts.items():
            (self.folder / name).write_text(text)
        (self.folder / "seed").write_bytes(os.urandom(64))
        (self.folder / "none").mkdir()
        if options.keep:
            (self.folder / "wants_dmesg").touch()

    # QEMU's command line

    def _machine(self) -> list[str]:
        """What a saved state depends on."""
        options = self.options
        return ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", "q35", "-accel",
                options.accel, "-cpu", options.cpu, "-smp", str(options.cpus), "-m", str(options.memory),
                "-kernel", str(self.home / "vmlinux"), "-initrd", str(self.home / "l1.img"),
                "-append", f"{COMMAND_LINE} {options.append}".strip(),
                "-device", "isa-debug-exit,iobase=0x501,iosize=1", "-device", "virtio-rng-pci"]

    def _channels(self) -> list[str]:
        """Console to a file, output to our own, a port for our word, and QEMU's monitor."""
        at = self.folder
        return ["-chardev", f"file,id=con,path={at}/console.log", "-serial", "chardev:con",
                "-device", "virtio-serial-pci", "-chardev", "stdio,id=out,signal=off",
                "-device", "virtconsole,chardev=out,nr=1",
                "-chardev", f"socket,id=ctl,path={at}/ctl,server=on,wait=off",
                "-device", "virtserialport,chardev=ctl,nr=2",
                "-chardev", f"socket,id=qmp,path={at}/qmp,server=on,wait=off", "-mon", "chardev=qmp,mode=control"]

    def _file_systems(self) -> list[str]:
        shared = [("l1root", "/", ",readonly=on"), ("l1run", self.folder, "")]
        for i in range(SHARES):
            shared.append((f"rw{i}", self.shares[i] if i < len(self.shares) else self.folder / "none", ""))
        return [word for tag, path, mode in shared for word in (
            "-fsdev", f"local,id={tag},path={path},security_model=passthrough,multidevs=remap{mode}",
            "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}")]

    @property
    def saved(self) -> Path:
        """Where the state of such a machine is, or would be, saved."""
        times = [(self.home / name).stat().st_mtime for name in ("vmlinux", "l1.img")]
        key = hashlib.sha256(json.dumps([self._machine(), times]).encode()).hexdigest()[:12]
        return self.home / f"saved-{key}"

    # running

    def start(self, warm: bool) -> None:
        """Start QEMU; it ends with us, however we end."""
        command = [str(QEMU), *self._machine(), *self._channels(), *self._file_systems()]
        if warm:
            command += ["-incoming", f"exec:cat {shlex.quote(str(self.saved))}"]
        libc = ctypes.CDLL(None)
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                        preexec_fn=lambda: libc.prctl(PDEATHSIG, signal.SIGKILL))  # noqa: PLW1509

    def connect(self, name: str) -> socket.socket:
        """One of QEMU's sockets.  Raises SetupError."""
        while self.process.poll() is None:
            made = socket.socket(socket.AF_UNIX)
            try:
                made.connect(str(self.folder / name))
                return made
            except OSError:
                made.close()
            self.wait_a_little()
        raise SetupError(f"QEMU ended with status {self.process.returncode}")

    def wait_a_little(self) -> None:
        """Raises TimeoutExpired when the time is over."""
        if time.monotonic() > self.deadline:
            raise subprocess.TimeoutExpired("the nested machine", self.options.timeout)
        time.sleep(0.02)

    def text(self, name: str) -> str:
        path = self.folder / name
        return path.read_text(errors="replace") if path.exists() else ""

    def save(self) -> int:
        """Boot to where the file systems are about to be mounted, and save that."""
        self.start(warm=False)
        while "l1init: ready" not in self.text("console.log"):
            if self.process.poll() is not None:
                return LOST
            self.wait_a_little()
        time.sleep(1)       # for it to come to rest
        monitor = Monitor(self)
        new = self.saved.with_suffix(".new")
        monitor("stop")
        monitor("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        monitor("migrate", uri=f"exec:cat > {shlex.quote(str(new))}")
        while (status := monitor("query-migrate")["status"]) not in ("completed", "failed", "cancelled"):
            self.wait_a_little()
        monitor("quit")
        self.process.wait(10)
        if status != "completed":
            return LOST
        new.rename(self.saved)
        return 0

    def run(self) -> int:
        """The command's exit status."""
        warm = self.saved.exists() and not self.options.cold
        self.start(warm)
        if warm:            # what was saved is a machine that stands still
            monitor = Monitor(self)
            while monitor("query-status")["status"] == "inmigrate":
                self.wait_a_little()
            monitor("cont")
        with self.connect("ctl") as control:
            (self.folder / "now").write_text(f"{time.time():.0f}\n")
            control.sendall(b"g")
            self.process.wait(max(0.1, self.deadline - time.monotonic()))
        status = self.text("status").strip()
        if not status.isdigit():
            print(f"nested: the machine ended (QEMU's status {self.process.returncode}) without a status",
                  file=sys.stderr)
            return LOST
        return int(status)

    def close(self, status: int) -> None:
        """End QEMU, keep what is to be kept, leave nothing behind."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if status == LOST:
            sys.stderr.write(self.text("console.log")[-6000:] + self.text("boot.log"))
        if self.options.keep:
            keep = Path(self.options.keep)
            keep.mkdir(parents=True, exist_ok=True)
            for path in self.folder.iterdir():
                if path.is_file():
                    shutil.copy(path, keep)
        shutil.rmtree(self.folder, ignore_errors=True)


class Monitor:
    """QEMU's monitor: call it with a command and its arguments."""

    def __init__(self, machine: Machine):
        channel = machine.connect("qmp")
        channel.settimeout(max(0.1, machine.deadline - time.monotonic()))
        self._file = channel.makefile("rw")
        self._file.readline()       # its greeting
        self("qmp_capabilities")

    def __call__(self, name: str, **arguments):
        self._file.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self._file.flush()
        while True:
            answer = json.loads(self._file.readline() or '{"error": {"desc": "it hung up"}}')
            if "error" in answer:
                raise SetupError(f"QEMU's monitor, {name}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]


def parse(arguments: list[str] | None):
    parser = argparse.ArgumentParser(prog="python -m tools.nested.run",
                                     description="Run COMMAND in a Linux with hardware-style KVM, inside this machine.")
    add = parser.add_argument
    add("command", nargs="?", default="", metavar="COMMAND", help="for bash, as root")
    add("--save", action="store_true", help="boot, save the state before file systems are mounted, and end; later "
        "runs of such a machine start from there")
    add("--cold", action="store_true", help="boot, although there is a saved state")
    add("--timeout", type=float, default=600, metavar="S", help="limit of the whole run (default: 600)")
    add("--kernel", choices=KERNELS, default="612", help="of the machine (default: 612)")
    add("--cpus", type=int, default=1, metavar="N", help="1 is fastest (default: 1)")
    add("--memory", type=int, default=3072, metavar="MIB", help="(default: 3072)")
    add("--rw", action="append", default=[], metavar="DIR", help="share DIR for writing; up to four times")
    add("--env", action="append", default=[], metavar="NAME=VALUE", help="for COMMAND; may be given more than once")
    add("--directory", default=os.getcwd(), metavar="DIR", help="where COMMAND starts (default: here)")
    add("--keep", metavar="DIR", help="keep logs in DIR")
    add("--cpu", default="max,-la57,-monitor", help="QEMU's model of it")
    add("--accel", default="tcg,thread=multi", help="QEMU's accelerator")
    add("--append", default="", metavar="TEXT", help="to the kernel's command line")
    options = parser.parse_args(arguments)
    if not options.command and not options.save:
        parser.error("no COMMAND")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)

    def interrupt(*_):
        raise Interrupted
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, interrupt)
    machine, status = None, UNSTARTED
    try:
        machine = Machine(options)
        status = machine.save() if options.save else machine.run()
    except (subprocess.TimeoutExpired, TimeoutError):
        status = TIMEOUT
        print(f"nested: not done after {options.timeout:g} s", file=sys.stderr)
    except Interrupted:
        status = INTERRUPTED
    except (SetupError, OSError) as error:
        print(f"nested: {error}", file=sys.stderr)
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if machine:
            machine.close(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
