"""Whether a device's halves stay in step: the same sequence of guest actions, on all executors of a device at once.

An *executor* is a machine without vCPUs whose device is served in one mode: `off`, Python alone; `host`, the native
handler with Python behind it; `on`, the BPF handler with Python behind it, by BPF_PROG_RUN.  After each *step*
everything that can be seen must be equal to what `off` shows; see guest.py for what that is.

    from vmm.verify import RegisterStrategy, verify

    def test_halves_are_in_step():
        verify(RegisterStrategy(lambda: AdderDevice("adder")), seconds=5)

A device that takes more than its registers tell brings a Strategy of its own (strategy.py), of which
strategies/ has those of the devices that come with splitvmm.
"""

from .campaign import Campaign, verify
from .guest import Guest
from .lockstep import Difference, NotInStep
from .source import Source
from .steps import Step
from .strategy import RegisterStrategy, Strategy, VirtioStrategy
from .virtio_guest import VirtioGuest

__all__ = ["Campaign", "verify", "Guest", "VirtioGuest", "Difference", "NotInStep", "Source", "Step", "Strategy",
           "RegisterStrategy", "VirtioStrategy"]
