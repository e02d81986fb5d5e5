"""What a guest that hangs looks like, for the test that waited for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vmm.machine.stats import counters
from vmm.virtio.virtio_device import VirtioDevice


def _queues(device: VirtioDevice) -> list[str]:
    lines = []
    for queue, counted in zip(device.queues, counters(device)):
        if not queue.ready:
            continue
        state, uring = queue.state, queue.uring
        flight = f", {uring.outstanding} in flight, {uring.pending} back" if uring and uring.ready else ""
        lines.append(f"  {queue.name}: {queue.ownership.holder!r}, {state.entry.active} handlers inside, next avail "
                     f"{state.position.next_avail:#x}, next used {state.position.next_used:#x}{flight}; "
                     f"{counted}")
    return lines


def state_of(machine) -> str:
    """vCPUs, devices, queues and their interrupts, as far as they can be told while the guest runs."""
    lines = [f"vcpu{thread.vcpu.index}: {thread.exits} exits to Python" for thread in machine.threads]
    for device in machine.devices:
        lines.append(f"{device.name}: offload {device.mode}, device status {device.page.status:#x}")
        if isinstance(device, VirtioDevice):
            lines += _queues(device)
    return "\n".join(lines)


def ended(machine, timeout_s: float, said: Callable[[], str]) -> int:
    """The guest's exit status; a guest that has not ended by then fails the test, and is described."""
    try:
        return machine.wait(timeout_s)
    except TimeoutError as error:
        pytest.fail(f"{error}: it hangs, or waits for an interrupt that was lost\n{state_of(machine)}\n"
                    f"it said: {said()!r}", pytrace=False)
