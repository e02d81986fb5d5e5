"""A VM in a process of its own, whose guest keeps a disk busy until the test ends."""

import time
from contextlib import contextmanager

from tests.cli import started
from vmm.paths import BUILD
from vmm.top import listing, process

BYTES = 512         # of each request
TIMEOUT_S = 60


@contextmanager
def busy(image, mode, *arguments, queues=1, **options):
    """The process, when its disk has been served by the half that its mode has; `options` are Popen's."""
    one = started.start("run", BUILD / "measure.elf", "--mem", "64M", "--serial", "null", "--cmdline",
                        f"bytes={BYTES} batches=100000000", "--disk",
                        f"{image},offload={mode},async=off,queues={queues}", *arguments, **options)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while not _serves(one.pid, mode):
            assert one.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        yield one
    finally:
        one.kill()
        one.wait()


def vms(pid):
    return [listing.listed(pid, at) for at in process.directories(pid)]


def counters(vm):
    """Of the first device's first queue."""
    shadow = vm.devices[0].shadow
    return shadow.counters(shadow.read(process.copies_of(vm.pid, vm.devices[0].state, shadow.size)), 1)


def _serves(pid, mode):
    try:
        return any(counters(vm)["user_handled" if mode == "off" else "handled"] for vm in vms(pid) if vm.devices)
    except process.Gone:        # it is not up, or has just begun
        return False
