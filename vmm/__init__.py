"""splitvmm, which is imported as `vmm`: virtual devices that live on both sides of the kernel boundary.

    from vmm import Machine, MachineConfig, DiskConfig
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .device.register_device import RegisterDevice as RegisterDevice
    from .errors import UserError as UserError
    from .machine.config import ConsoleConfig as ConsoleConfig
    from .machine.config import DeviceConfig as DeviceConfig
    from .machine.config import DiskConfig as DiskConfig
    from .machine.config import ExecutorConfig as ExecutorConfig
    from .machine.config import MachineConfig as MachineConfig
    from .machine.config import NicConfig as NicConfig
    from .machine.config import RecordConfig as RecordConfig
    from .machine.config import RngConfig as RngConfig
    from .machine.machine import Machine as Machine
    from .virtio.virtio_device import VirtioDevice as VirtioDevice
    from .virtqueue.ring import BrokenQueue as BrokenQueue
    from .virtqueue.virtqueue import UserQueue as UserQueue

_MODULE_OF = {"Machine": "machine.machine", "MachineConfig": "machine.config", "DiskConfig": "machine.config",
         "NicConfig": "machine.config", "ConsoleConfig": "machine.config", "RngConfig": "machine.config",
         "DeviceConfig": "machine.config", "ExecutorConfig": "machine.config", "RecordConfig": "machine.config",
         "RegisterDevice": "device.register_device", "VirtioDevice": "virtio.virtio_device",
         "UserQueue": "virtqueue.virtqueue", "BrokenQueue": "virtqueue.ring", "UserError": "errors"}
__all__ = list(_MODULE_OF)


if not TYPE_CHECKING:       # or every name would be good
    def __getattr__(name: str):
        """Import on first use, so that `import vmm` stays quick."""
        if name not in _MODULE_OF:
            raise AttributeError(f"module 'vmm' has no attribute {name!r}")
        from importlib import import_module
        return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
