"""Test what this machine's KVM cannot show: in machines with hardware-style KVM, two at a time.

    python -m tools.nested.test [--list] [NAME ...]

Builds what is missing first.  Ends with 0 if every job passed; what the others said is printed.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .files import KERNELS, ROOT

WORKERS = 2
TIMEOUT_S = 1500    # for hangs
SCALE = "0.05"      # of the long guest tests
# Plugins that are of no use in there are not imported, which takes seconds where a CPU is emulated.
PYTEST = (f"{sys.executable} -m pytest -q -p no:cacheprovider -p no:xdist -p no:xdist.looponfail "
          "-p no:hypothesispytest --timeout=600")


@dataclass(frozen=True)
class Job:
    """A command in a nested machine with this kernel, or `here` with its files.  `extra`: only when asked for, as time
    is short."""

    name: str
    command: str
    kernel: str = "612"
    extra: bool = False
    here: bool = False


# Of the guest tests, those about the guests and the exit path; what is about this program is seen without nesting.
GUESTS = " and ".join(f"not {word}" for word in (
    "mistakes", "through", "none", "interface", "toggles", "auto", "pairs", "status", "triple", "nobody", "serial",
    "all_kinds", "same_state", "several", "crash"))
# What only the BPF build has, once each: whether a kernel's verifier takes it, and its helpers do what they are to do.
PATHS = "tests/kernel_devices/test_bpf_paths.py tests/guest/test_exit_path.py"
# KVM's vCPUs and the declared state, and an emulator beside it: of hardware's kind of KVM.
EXECUTORS = "kvm_state or beside or partial"
# Each transport with one vCPU and with two; few jobs, as each has a machine and a pytest to start.  Those that are on
# kernels of their own begin early: what they boot is built while others run.
JOBS = (
    Job("pci-1", f"{PYTEST} tests/nested -k 'work and pci-1'"),
    Job("6.1", f"{sys.executable} -m vmm doctor | grep 'missing io_uring' && {PYTEST} tests/guest/test_guests.py "
        f"tests/nested {PATHS} -k 'test_check or (one_mode and mmio) or bpf_paths'", "61"),
    Job("newest", f"{PYTEST} {PATHS} -m bpf_paths", "newest"),
    Job("guests", f"{PYTEST} tests/guest/test_guests.py tests/guest/test_exit_path.py tests/guest/test_net_guest.py "
        f"-k '{GUESTS}'"),
    Job("emulator", f"{PYTEST} tests/emulated/test_linux_alone.py", here=True),
    Job("executors", f"{PYTEST} tests/executors -k '{EXECUTORS}'"),
    Job("states", f"{PYTEST} tests/nested/test_sampled_states.py tests/executors/test_states_campaign.py", extra=True),
    Job("mmio-1", f"{PYTEST} tests/nested -k 'work and mmio-1'"),
    Job("several", f"{PYTEST} tests/nested -k 'fio or register_devices or (one_mode and pci)'"),
    Job("more", f"{PYTEST} tests/nested "
        "-k 'eight or login or without_acpi or no_success or (work and (pci-2 or mmio-2))'", extra=True),
    *(Job(f"bpf-{name}", f"{PYTEST} tests/kernel_devices tests/offload tests/guest/test_recorded_guests.py "
          "tests/verify/test_verify.py -k 'on or recording or ours'", kernel, extra=True)
      for name, kernel in (("6.1", "61"), ("6.12", "612"), ("newest", "newest"))),
    Job("verifier", f"{PYTEST} tests/kvm/test_verifier.py", "61", extra=True),
    Job("bench", f"{PYTEST} tests/nested -k bench", extra=True),
    Job("firmware", f"{PYTEST} tests/nested/test_firmware.py tests/firmware", extra=True),
    Job("kill", f"{PYTEST} tests/guest/test_kill.py", extra=True),
)


class Kernels:
    """Builds each kernel's files, and its machine's saved state, when they are first asked for."""

    def __init__(self):
        self._locks = {name: threading.Lock() for name in KERNELS}
        self._building = threading.Lock()
        self._said: dict[str, str] = {}     # of those that were asked for: "", or what went wrong

    def prepare(self, name: str) -> str:
        """"" when it is ready, or what went wrong."""
        with self._locks[name]:
            if name not in self._said:
                with self._building:
                    done = _python("tools.nested.build", "--kernel", name)
                if not done.returncode:
                    done = _python("tools.nested.run", "--kernel", name, "--save", "--timeout", "300")
                self._said[name] = done.stdout if done.returncode else ""
        return self._said[name]


def _python(module: str, *arguments: str) -> subprocess.CompletedProcess:
    return _run([sys.executable, "-m", module, *arguments])


def _run(command: list[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=environment)


def run_job(job: Job, kernels: Kernels) -> bool:
    """Whether it passed; says so."""
    if said := kernels.prepare(job.kernel):
        print(f"nested: {job.name}: kernel {job.kernel} failed:\n{said}", flush=True)
        return False
    began = time.monotonic()
    if job.here:
        done = _run(shlex.split(job.command), {**os.environ, "SPLITVMM_GUEST_KERNEL": job.kernel})
    else:
        done = _python("tools.nested.run", "--kernel", job.kernel, "--timeout", str(TIMEOUT_S), "--env",
                       f"SPLITVMM_TEST_SCALE={SCALE}", "--env", f"SPLITVMM_GUEST_KERNEL={job.kernel}",
                       "--env", "SPLITVMM_REQUIRE=kvm,bpf,network", job.command)
    if done.returncode:
        print(f"nested: {job.name} failed:\n{done.stdout}", flush=True)
        return False
    last = " ".join(done.stdout.strip().splitlines()[-1:])
    print(f"nested: {job.name} passed in {time.monotonic() - began:.0f} s: {last}", flush=True)
    return True


def run_jobs(jobs: list[Job]) -> list[str]:
    """Names of those that failed."""
    kernels = Kernels()
    _python("vmm", "build", "tests/kernel_devices/chime.py")    # here, as compilers are slow in there
    with ThreadPoolExecutor(WORKERS) as pool:
        passed = list(pool.map(lambda job: run_job(job, kernels), jobs))
    return [job.name for job, good in zip(jobs, passed) if not good]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="jobs; by default all that are not extra")
    parser.add_argument("--list", action="store_true", help="name all, and end")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{job.name:12} {'extra' if job.extra else '':6} {job.command}" for job in JOBS))
        return 0
    unknown = set(options.names) - {job.name for job in JOBS}
    if unknown:
        parser.error(f"no job {min(unknown)}; wanted one of {', '.join(job.name for job in JOBS)}")
    began = time.monotonic()
    failed = run_jobs([job for job in JOBS if job.name in options.names or not (options.names or job.extra)])
    print(f"nested: {'failed: ' + ', '.join(failed) if failed else 'all passed'}, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
