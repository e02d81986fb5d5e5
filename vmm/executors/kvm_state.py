"""A vCPU of KVM's and the declared state: taken, and given, by Documentation/virt/kvm/api.rst.

The order in which state is given matters:

1. CPUID comes first, when the vCPU is made: it decides which bits of control registers, which MSRs (reads of them
   depend on it since Linux 6.13) and which XSAVE components there are;
2. special registers, as their cr4 and efer decide what the others may be, and their apic_base the mode of the APIC;
3. XCR0 before the XSAVE area, whose components it has to allow;
4. MSRs, the APIC's timer deadline among them, after the APIC;
5. events last: giving special registers takes back what waits to be injected.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

from ..devmodel.vcpu import EXTENDED_AT, XSAVE_BYTES
from ..devmodel.view import View, address_of, to_dict
from ..kvm.vm import KvmError, Vcpu
from .check import GRANULAR, PRESENT, UNUSABLE
from .kvm_msrs import KvmMsrs
from .kvm_part import MovedPart
from .kvm_tables import ACTIVITY, APIC, DEBUG, REGISTERS, SPECIAL, TSC_OFFSET, XCR0, XSAVE, events, place_of
from .state import blank, bytes_of, differences
from .transfer import Carried, NotTransferable, Rebuilt, complete, refuse_impossible

FATES = complete({
    "general": Carried("KVM_GET_REGS"),
    "segments": Carried("KVM_GET_SREGS2"),
    "control": Carried("KVM_GET_SREGS2"),
    "control.xcr0": Carried("KVM_GET_XCRS"),
    "debug": Carried("KVM_GET_DEBUGREGS"),
    "msrs": Carried("KVM_GET_MSRS"),
    "xsave": Carried("KVM_GET_XSAVE"),
    "xsave.mxcsr_mask": Rebuilt("the host's CPU (SDM 1, 11.6.6)"),
    "xsave.unused": Rebuilt("zeroes: software's own bytes (SDM 1, 10.5.1)"),
    "events": Carried("KVM_GET_VCPU_EVENTS"),
    "timing.tsc_offset": Carried("KVM_VCPU_TSC_OFFSET"),
    "timing.tsc": Rebuilt("the host's counter and the offset (SDM 3, 25.6.5)"),
    "timing.tsc_khz": Rebuilt("the host's clock: another frequency is refused"),
    "activity": Carried("KVM_GET_MP_STATE"),
    "apic_present": Rebuilt("KVM has one"),
    "apic": Carried("KVM_GET_LAPIC"),
})
XSAVE_LEAF = 0xd            # of CPUID
MOVING = {"msrs.tsc_deadline", *(f"apic[{at}]" for at in (*range(32, 40), 57))}     # what is requested; the timer
UNUSED = place_of("xsave.unused")
SMM = ("smm", "smi_pending", "smm_inside_nmi")


class KvmState:
    """What one vCPU of KVM's has, and can be given.  Raises NotTransferable, and KvmError where KVM refuses what it
    should take."""

    def __init__(self, vcpu: Vcpu):
        self.vcpu, self.vm, self.ffi, self.lib = vcpu, vcpu.vm, vcpu.ffi, vcpu.lib
        for name, use in (("KVM_CAP_SREGS2", "PDPTRs"), ("KVM_CAP_VCPU_ATTRIBUTES", "the TSC's offset")):
            if self.vm.capability(name) <= 0:
                raise KvmError(f"/dev/kvm: no {name}; wanted it for {use}: Linux 5.16 has it")
        if self.vm.capability("KVM_CAP_XSAVE2") > XSAVE_BYTES:
            raise NotTransferable(f"xsave: {self.vm.capability('KVM_CAP_XSAVE2')} bytes of it; wanted {XSAVE_BYTES}, "
                                  "which is all but AMX")
        self._taken = blank()
        self._smm = self.vm.capability("KVM_CAP_X86_SMM") > 0
        components = list(self.extended())
        self._components, self._component_count = self.ffi.new("struct kvm_component[]", components), len(components)
        self._make_parts()

    # asked of the vCPU, which has no answer while it runs

    @cached_property
    def _msrs(self) -> KvmMsrs:
        return KvmMsrs(self.vcpu)

    @cached_property
    def _khz(self) -> int:
        return self.vm.call("KVM_GET_TSC_KHZ", 0, self.vcpu.fd)

    def _make_parts(self) -> None:
        """In the order in which they are given."""
        special, general, xcr0, xsave, debug, apic, activity, every, shadow = (MovedPart(self.vcpu, part) for part in (
            SPECIAL, REGISTERS, XCR0, XSAVE, DEBUG, APIC, ACTIVITY, events(self._all_events()),
            events(self.lib.KVM_VCPUEVENT_VALID_SHADOW)))
        self._registers = [special, general, xcr0, xsave, debug]
        self._before_msrs = [*self._registers, apic, self._tsc_offset()]
        self._after_msrs, self._only_shadow = [activity, every], [shadow]
        self._taking = [activity, *self._before_msrs, every]

    def extended(self) -> Iterator[dict[str, int]]:
        """Components behind the header (SDM 2, CPUID leaf 0xd)."""
        for entry in self.vm.supported_cpuid():
            if entry.function == XSAVE_LEAF and entry.index >= 2 and entry.ebx >= EXTENDED_AT:
                yield {"bit": entry.index, "at": entry.ebx, "bytes": entry.eax}

    def _tsc_offset(self) -> MovedPart:
        made = MovedPart(self.vcpu, TSC_OFFSET)
        made.point(self.vcpu, group=self.lib.KVM_VCPU_TSC_CTRL, attr=self.lib.KVM_VCPU_TSC_OFFSET)
        return made

    # taking

    def take(self, state: View) -> None:
        """What the vCPU is, while it does not run.  Raises NotTransferable in the midst of an instruction, which more
        exits are to come of: let it run on."""
        self._complete()
        self._read(state)

    def _read(self, state: View) -> None:
        """What it waits for comes first: a SIPI that has come is taken by that, and changes the rest
        (kvm_arch_vcpu_ioctl_get_mpstate, arch/x86/kvm/x86.c)."""
        bytes_of(state)[:] = bytes(len(bytes_of(state)))
        at = self.ffi.cast("struct vcpu_state *", address_of(state))
        for part in self._taking:
            part.take(at)
        self._msrs.take(state)
        bytes_of(state)[UNUSED.at:UNUSED.at + UNUSED.bytes] = bytes(UNUSED.bytes)
        self.lib.kvm_tell_initial(at, self._components, self._component_count)
        state.apic_present, state.timing.tsc_khz = 1, self._khz
        if state.events.exception_injected:     # one that is pending is told as both, where payloads are not asked for
            state.events.exception_pending = 0

    def _complete(self) -> None:
        """The instruction that KVM_RUN returned for is done when it is entered again (api.rst, 5: KVM_EXIT_MMIO)."""
        run = self.vcpu.kvm_run
        run.immediate_exit = 1
        result = self.lib.kvm_call_value(self.vcpu.fd, self.lib.KVM_RUN, 0)
        run.immediate_exit = 0
        if result != -errno.EINTR:
            raise NotTransferable(f"vCPU {self.vcpu.index}: exit {run.exit_reason} in the midst of an instruction; "
                                  "wanted it done")

    # giving

    def give(self, state: View, checked: bool = False) -> None:
        """Have the vCPU be that.  What is wrong with the state itself, or more than this KVM says it can have, is
        refused before anything is given; what only its answers tell, in the midst of it: the vCPU is not to be run
        then.  `checked`: it is known that a CPU can be that."""
        if not checked:
            self._refuse(to_dict(state))
        self._give(state, self._before_msrs)
        self._msrs.give(state)
        self._give(state, self._after_msrs)
        self._compare(state)

    def give_back(self, state: View) -> None:
        """What has become of a vCPU that something else ran for a while.  Its interrupt controller, its clocks, what it
        waits for and what has come for it meanwhile stayed here, and stay as they are."""
        refuse_impossible(to_dict(state) | {"apic_present": 0})
        self._give(state, self._registers)
        self._msrs.give_back(state)
        self._give(state, self._only_shadow)

    def _give(self, state: View, parts: Iterable[MovedPart]) -> None:
        at = self.ffi.cast("struct vcpu_state *", address_of(state))
        for part in parts:
            part.give(at)

    def _compare(self, state: View) -> None:
        """KVM takes some of what it cannot have without a word."""
        self._read(self._taken)
        self._taken.timing.tsc = state.timing.tsc       # has moved on
        for where, wanted, found in differences(state, self._taken):
            if where not in MOVING and not isinstance(FATES[where.split("[")[0]], Rebuilt) and \
                    meant(where, wanted) != meant(where, found):
                raise NotTransferable(f"{where}: {wanted:#x}; this KVM makes {found:#x} of it")

    def _refuse(self, fields: dict[str, Any]) -> None:
        refuse_impossible(fields)
        if (khz := fields["timing"]["tsc_khz"]) != self._khz:
            raise NotTransferable(f"timing.tsc_khz: {khz}; wanted {self._khz}, which this host has")
        if not fields["apic_present"]:
            raise NotTransferable("apic_present: 0; wanted 1, as KVM has one")
        if not self._smm:
            for name in SMM:
                if fields["events"][name]:
                    raise NotTransferable(f"events.{name}: 1; wanted 0, as this KVM has no system management mode")

    def _all_events(self) -> int:
        """What is given of them: the others stay as they are."""
        lib = self.lib
        flags = lib.KVM_VCPUEVENT_VALID_NMI_PENDING | lib.KVM_VCPUEVENT_VALID_SHADOW | \
            lib.KVM_VCPUEVENT_VALID_SIPI_VECTOR
        return flags | (lib.KVM_VCPUEVENT_VALID_SMM if self._smm else 0)


def meant(where: str, value: int) -> int:
    """Without what makes no difference to a CPU: which of the two shadows it is, as AMD's have one (APM 2, 15.21.5); G
    beside a limit in bytes, of which KVM makes it on AMD; and of a segment that is unusable, all else (SDM 3, 25.4.1),
    which is what KVM makes of one that is not present."""
    if where == "events.shadow":
        return int(value != 0)
    if where.endswith(".access"):
        return UNUSABLE if value & UNUSABLE or not value & PRESENT else value & ~GRANULAR
    return value
