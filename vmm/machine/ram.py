"""A machine's RAM, in memory that all of its devices can be served from."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..errors import UserError
from ..kvm.bpf import BpfUnavailable, Maps
from ..kvm.memory import GuestMemory
from ..offload.objects import OffloadError, unavailable

TRANSPARENT = Path("/sys/kernel/mm/transparent_hugepage/enabled")


class Ram:
    """BPF map memory if any device may be offloaded to the kernel, plain memory otherwise or where there is no BPF:
    then `maps` is None, and `no_bpf` says why."""

    def __init__(self, size: int, asked: set[str], has_exits: bool, hugepages: str):
        """`asked` are the devices' offload modes; `size` is in bytes.  What is no map memory is in huge pages, where
        the kernel has them, unless `hugepages` is off.  Raises what a device that insists cannot do without, and
        UserError where huge pages are insisted on and cannot be had."""
        private = hugepages != "off"
        self.maps, self.no_bpf = make_maps(asked, has_exits)
        try:
            self.memory = GuestMemory(size, self.maps, private)
        except BpfUnavailable as error:
            self.maps.close()
            if "on" in asked:
                raise
            self.maps, self.no_bpf = None, f"BPF: {unavailable(error)}"
            self.memory = GuestMemory(size, None, private)
        except BaseException:
            if self.maps:
                self.maps.close()
            raise
        if hugepages == "on" and (reason := self._why_no_huge_pages()):
            self.close()
            raise UserError(f"hugepages on: {reason}")

    def _why_no_huge_pages(self) -> str:
        if self.maps:
            return "RAM is BPF map memory, in pages of 4 KiB, for devices with offload on or auto; wanted off or host"
        if not TRANSPARENT.exists() or "[never]" in TRANSPARENT.read_text():
            return f"{TRANSPARENT}: not there, or never; wanted madvise or always"
        return ""

    def close(self) -> None:
        with suppress(AttributeError):      # not made
            self.memory.close()
        if self.maps:
            self.maps.close()


def make_maps(asked: set[str], has_exits: bool) -> tuple[Maps | None, str]:
    """BPF maps where a device `asked` for what needs them, or None and why not.  Raises what a device
    that insists cannot do without."""
    if not asked & {"on", "auto"}:
        return None, "BPF: no device asked for it"
    if not has_exits:
        if "on" in asked:
            raise OffloadError("offload=on: not a guest of KVM's, whose exits it is on; wanted host, off or auto")
        return None, "KVM does not run this guest"
    try:
        return Maps(), ""
    except BpfUnavailable as error:
        if "on" in asked:
            raise
        return None, f"BPF: {unavailable(error)}"
