"""Probe, user half: takes everything and does nothing."""

from __future__ import annotations

from ..device.register_device import RegisterDevice
from ..devmodel.devices.probe import Probe, ProbeRead


class ProbeDevice(RegisterDevice):
    """The user half of Probe: takes everything and does nothing."""

    schema = Probe
    handler = "probe"


class ProbeReadDevice(RegisterDevice):
    """A register that counts its reads."""

    schema = ProbeRead

    def on_read_counter(self) -> int:
        self.page.counter = (self.page.counter + 1) & 0xffffffff
        return self.page.counter
