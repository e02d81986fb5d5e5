"""splitvmm: virtual devices that live on both sides of the kernel boundary.

    from vmm import Machine, MachineConfig, DiskConfig
"""

from __future__ import annotations

_HOME = {"Machine": "machine", "MachineConfig": "config", "DiskConfig": "config", "NicConfig": "config",
         "RegisterDevice": "device", "VirtioDevice": "virtio", "UserError": "errors"}
__all__ = list(_HOME)


def __getattr__(name: str):
    """Import on first use, so that `import vmm` stays quick."""
    if name not in _HOME:
        raise AttributeError(f"module 'vmm' has no attribute {name!r}")
    from importlib import import_module
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
