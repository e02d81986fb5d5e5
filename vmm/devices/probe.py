"""Probe, user half: takes everything and does nothing."""

from __future__ import annotations

from ..device.register_device import RegisterDevice
from ..devmodel.devices.probe import Probe, ProbeLines, ProbeRead


class ProbeDevice(RegisterDevice):
    """The user half of Probe: takes everything and does nothing."""

    schema = Probe
    handler = "probe"

    def on_write_handled(self, value: int) -> None:
        """A doorbell."""

    def on_write_declined(self, value: int) -> None:
        """Another one."""


class ProbeReadDevice(RegisterDevice):
    """A register that counts its reads."""

    schema = ProbeRead

    def on_read_counter(self) -> int:
        self.page.counter = (self.page.counter + 1) & 0xffffffff
        return self.page.counter


class ProbeLinesDevice(RegisterDevice):
    """Lines that lead nowhere."""

    schema = ProbeLines

    def on_read_status(self) -> int:
        return 1
