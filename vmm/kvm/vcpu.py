"""The VM-exit loop: one thread for each vCPU, one switch, no knowledge of any device."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from time import thread_time_ns

from ..devmodel.exit_path import SIGNAL, Bus
from .vm import Vcpu

RESET_STATE = 0xfff0, 0xffff0000    # rip and base of cs (SDM volume 3, table 10-1)


class UnhandledExit(RuntimeError):
    """KVM returned for a reason that no guest of ours should cause."""


class VcpuThread(threading.Thread):
    """Runs one vCPU until `running` says stop.

    `host` is the machine, as far as a vCPU knows it: `buses` by Bus, `on_thread(vcpu)` once
    on the new thread, `declined(vcpu)` when a decline or a kick ended KVM_RUN, and `refused(vcpu)` when KVM has no
    emulation of an instruction: None if it was done elsewhere, or what to say of that.  `running` has
    `checkpoint()`, which is False when it is time to end, `failed(error)`, and `ended()` as the last thing.
    """

    def __init__(self, vcpu: Vcpu, host, running):
        super().__init__(name=f"vcpu{vcpu.index}", daemon=True)
        self.vcpu, self.host, self.running, self.lib = vcpu, host, running, vcpu.lib
        self.port_exits = 0         # of them, those with one of a port
        self.cpu_ns = 0             # time on a CPU, once it has ended
        self.thread = 0             # as the kernel numbers it
        self.through = False        # it uses its vCPU no more

    @property
    def exits(self) -> int:
        """Returns to Python with an access."""
        return self.vcpu.loop.exits

    def run(self) -> None:
        try:
            self.lib.block_signal(SIGNAL)       # delivered only inside KVM_RUN
            self.lib.set_signal_mask(self.vcpu.fd, SIGNAL)
            self.thread = self.lib.this_thread()
            Path(f"/proc/self/task/{self.thread}/comm").write_text(f"CPU {self.vcpu.index}/KVM")    # for top(1)
            self.host.on_thread(self.vcpu)
            self._loop()
        except BaseException as error:
            self.running.failed(error)
        finally:
            self.cpu_ns, self.through = thread_time_ns(), True
            self.running.ended()

    def kick(self) -> None:
        """Any thread: have it come out of KVM_RUN."""
        self.lib.kick_thread(self.thread, SIGNAL)

    def leave(self) -> None:
        """Any thread: have it come to the checkpoint, out of KVM_RUN or of an emulator beside it."""
        self.vcpu.loop.leave = 1
        self.kick()

    def _loop(self) -> None:
        lib, vcpu, host = self.lib, self.vcpu, self.host
        io, interrupted = lib.KVM_EXIT_IO, -errno.EINTR
        spaces = {io: host.buses[Bus.PORT], lib.KVM_EXIT_MMIO: host.buses[Bus.MMIO]}
        while self._goes_on():
            reason = vcpu.enter()
            if vcpu.coalesced:
                vcpu.coalesced.drain()
            if reason in spaces:
                self.port_exits += reason == io
                self._access(spaces[reason])
            elif reason == interrupted:
                host.declined(vcpu)
            else:
                why = host.refused(vcpu) if self._is_refused(reason) else ""
                if why is not None:
                    raise UnhandledExit("\n".join(filter(None, [self._explain(reason), why])))

    def _goes_on(self) -> bool:
        self.vcpu.loop.leave = 0        # before the look at what it was set for
        return self.running.checkpoint()

    def _access(self, space) -> None:
        loop = self.vcpu.loop
        if loop.count != 1:
            self._string_access(space)
        elif loop.is_write:
            space.write(loop.address, loop.width, loop.value)
        else:
            self.lib.vcpu_answer(loop, space.read(loop.address, loop.width))

    def _string_access(self, space) -> None:
        """INS and OUTS: several accesses of one port in one exit."""
        loop, ffi = self.vcpu.loop, self.vcpu.ffi
        width = loop.width
        data = ffi.buffer(loop.data, width * loop.count)
        for at in range(0, len(data), width):
            if loop.is_write:
                space.write(loop.address, width, int.from_bytes(data[at:at + width], "little"))
            else:
                value = space.read(loop.address, width)
                data[at:at + width] = (value & (1 << 8 * width) - 1).to_bytes(width, "little")

    def _is_refused(self, reason: int) -> bool:
        """Whether KVM has no emulation of an instruction."""
        lib = self.lib
        return reason == lib.KVM_EXIT_INTERNAL_ERROR and \
            lib.exit_detail(self.vcpu.kvm_run) == lib.KVM_INTERNAL_ERROR_EMULATION

    def _explain(self, reason: int) -> str:
        lib = self.lib
        detail = lib.exit_detail(self.vcpu.kvm_run)
        names = {lib.KVM_EXIT_SHUTDOWN: f"the guest shut down (a triple fault, most likely){self._reset_by_kvm()}",
                 lib.KVM_EXIT_HLT: "the guest halted with no interrupt controller",
                 lib.KVM_EXIT_FAIL_ENTRY: f"KVM could not enter the guest, reason {detail:#x}",
                 lib.KVM_EXIT_INTERNAL_ERROR: f"KVM gave up on the guest, suberror {detail}",
                 lib.KVM_EXIT_SYSTEM_EVENT: f"system event {detail}"}
        return f"{names.get(reason, f'unknown exit {reason}')}\n{self.vcpu.describe()}"

    def _reset_by_kvm(self) -> str:
        """With SVM KVM has no registers to show of a vCPU that shut down: it resets it first
        (shutdown_interception, arch/x86/kvm/svm/svm.c)."""
        regs, cs = self.vcpu.get_regs(), self.vcpu.get_sregs().cs
        if (regs.rip, cs.base) != RESET_STATE:
            return ""
        return "; KVM has reset the vCPU since, so that its registers say nothing of the guest"
