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
import os
import struct
from typing import Any

from ..devmodel.vcpu import EXTENDED_AT, XSAVE_BYTES
from ..devmodel.view import View, to_dict
from ..kvm.vm import KvmError, Vcpu
from .check import GRANULAR, PRESENT, SSE, UNUSABLE, X87
from .kvm_msrs import TSC, KvmMsrs
from .kvm_special import from_special, to_special
from .state import GENERAL, blank, bytes_of, differences, write_array
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
EVENTS = {                  # field of ours -> of struct kvm_vcpu_events
    "exception_injected": "exception.injected", "exception_pending": "exception.pending",
    "exception_nr": "exception.nr", "exception_has_error": "exception.has_error_code",
    "exception_error": "exception.error_code", "exception_has_payload": "exception_has_payload",
    "exception_payload": "exception_payload", "interrupt_injected": "interrupt.injected",
    "interrupt_nr": "interrupt.nr", "interrupt_soft": "interrupt.soft", "shadow": "interrupt.shadow",
    "nmi_injected": "nmi.injected", "nmi_pending": "nmi.pending", "nmi_masked": "nmi.masked",
    "sipi_vector": "sipi_vector", "smm": "smi.smm", "smi_pending": "smi.pending",
    "smm_inside_nmi": "smi.smm_inside_nmi", "latched_init": "smi.latched_init",
    "triple_fault": "triple_fault.pending"}
EMULATED_MSRS = frozenset("star lstar cstar fmask kernel_gs_base sysenter_cs sysenter_esp sysenter_eip".split())
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
        self._taken, self._components = blank(), self._extended()
        self._msrs, self._smm = KvmMsrs(vcpu), self.vm.capability("KVM_CAP_X86_SMM") > 0

    # taking

    def take(self, state: View) -> None:
        """What the vCPU is, while it does not run.  Raises NotTransferable in the midst of an instruction, which more
        exits are to come of: let it run on."""
        self._complete()
        self._read(state)

    def _read(self, state: View) -> None:
        """What it waits for comes first: a SIPI that has come is taken by that, and changes the rest
        (kvm_arch_vcpu_ioctl_get_mpstate, arch/x86/kvm/x86.c)."""
        state.activity = self._got("KVM_GET_MP_STATE", "struct kvm_mp_state").mp_state
        self._take_general(state.general)
        self._take_special(state)
        self._take_xsave(state)
        debug = self._got("KVM_GET_DEBUGREGS", "struct kvm_debugregs")
        write_array(state.debug, "dr", debug.db)
        state.debug.dr6, state.debug.dr7 = debug.dr6, debug.dr7
        self._msrs.take(state.msrs)
        self._take_timing(state.timing)
        lapic = self.ffi.buffer(self.vcpu.get_lapic())
        state.apic_present = 1
        write_array(state, "apic", struct.unpack_from("<" + "I12x" * len(state.apic), lapic))
        events = self._got("KVM_GET_VCPU_EVENTS", "struct kvm_vcpu_events")
        for ours, theirs in EVENTS.items():
            setattr(state.events, ours, _at(events, theirs))
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

    def _got(self, request: str, kind: str) -> Any:
        found = self.ffi.new(f"{kind} *")
        self.vm.call(request, found, self.vcpu.fd)
        return found

    def _take_general(self, general: Any) -> None:
        found = self.vcpu.get_regs()
        for name in GENERAL:
            setattr(general, name, getattr(found, name))

    def _take_special(self, state: Any) -> None:
        found = self._got("KVM_GET_SREGS2", "struct kvm_sregs2")
        from_special(found, state)
        state.control.pdptrs_valid = int(bool(found.flags & self.lib.KVM_SREGS2_FLAGS_PDPTRS_VALID))
        write_array(state.control, "pdptr", found.pdptrs)

    def _take_xsave(self, state: Any) -> None:
        xcrs = self._got("KVM_GET_XCRS", "struct kvm_xcrs")
        state.control.xcr0 = next(xcrs.xcrs[i].value for i in range(xcrs.nr_xcrs) if xcrs.xcrs[i].xcr == 0)
        found = self._got("KVM_GET_XSAVE", "struct kvm_xsave")
        bytes_of(state.xsave)[:] = self.ffi.buffer(found.region)
        write_array(state.xsave, "unused", bytes(len(state.xsave.unused)))
        self._tell_initial(state.xsave)

    def _tell_initial(self, xsave: Any) -> None:
        """A component in its initial state may be said to be in use, or not, as the CPU likes (SDM 1, 13.6): here x87
        and SSE always are, and others where they are not all zeroes.  KVM writes the initial state of those that are
        not."""
        area, used = bytes_of(xsave), xsave.xstate_bv | X87 | SSE
        for bit, (at, size) in self._components.items():
            if used >> bit & 1 and not any(area[at:at + size]):
                used &= ~(1 << bit)
        xsave.xstate_bv = used

    def _extended(self) -> dict[int, tuple[int, int]]:
        """Component -> (offset, bytes) of those behind the header (SDM 2, CPUID leaf 0xd)."""
        return {entry.index: (entry.ebx, entry.eax) for entry in self.vm.supported_cpuid()
                if entry.function == XSAVE_LEAF and entry.index >= 2 and entry.ebx >= EXTENDED_AT}

    def _take_timing(self, timing: Any) -> None:
        timing.tsc_khz = self.vm.call("KVM_GET_TSC_KHZ", 0, self.vcpu.fd)
        timing.tsc_offset = self._tsc_offset("KVM_GET_DEVICE_ATTR", 0)
        timing.tsc = self._msrs.read([TSC])[TSC]

    def _tsc_offset(self, request: str, value: int) -> int:
        word = self.ffi.new("uint64_t *", value)
        self.vm.call(request, self.ffi.new("struct kvm_device_attr *", {
            "group": self.lib.KVM_VCPU_TSC_CTRL, "attr": self.lib.KVM_VCPU_TSC_OFFSET,
            "addr": int(self.ffi.cast("uintptr_t", word))}), self.vcpu.fd)
        return word[0]

    # giving

    def give(self, state: View) -> None:
        """Have the vCPU be that.  What is wrong with the state itself, or more than this KVM says it can have, is
        refused before anything is given; what only its answers tell, in the midst of it: the vCPU is not to be run
        then."""
        fields = to_dict(state)
        self._refuse(fields)
        self._give_registers(state, fields)
        self._give_apic(fields["apic"])
        self._tsc_offset("KVM_SET_DEVICE_ATTR", fields["timing"]["tsc_offset"])
        self._msrs.give(fields["msrs"])
        self._set("activity", "KVM_SET_MP_STATE", "struct kvm_mp_state", {"mp_state": fields["activity"]})
        self._give_events(fields["events"], self._all_events())
        self._compare(state)

    def give_back(self, state: View) -> None:
        """What has become of a vCPU that something else ran for a while.  Its interrupt controller, its clocks, what it
        waits for and what has come for it meanwhile stayed here, and stay as they are."""
        fields = to_dict(state)
        refuse_impossible(fields | {"apic_present": 0})
        self._give_registers(state, fields)
        self._msrs.give(fields["msrs"], EMULATED_MSRS)
        self._give_events(fields["events"], self.lib.KVM_VCPUEVENT_VALID_SHADOW)

    def _give_registers(self, state: View, fields: dict[str, Any]) -> None:
        self._give_special(fields)
        regs = self.ffi.new("struct kvm_regs *", {name: fields["general"][name] for name in GENERAL})
        self.vm.call("KVM_SET_REGS", regs, self.vcpu.fd)
        self._give_xsave(state, fields)
        self._set("debug", "KVM_SET_DEBUGREGS", "struct kvm_debugregs", {
            "db": fields["debug"]["dr"], "dr6": fields["debug"]["dr6"], "dr7": fields["debug"]["dr7"]})

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
        khz = self.vm.call("KVM_GET_TSC_KHZ", 0, self.vcpu.fd)
        if fields["timing"]["tsc_khz"] != khz:
            raise NotTransferable(f"timing.tsc_khz: {fields['timing']['tsc_khz']}; wanted {khz}, which this host has")
        if not fields["apic_present"]:
            raise NotTransferable("apic_present: 0; wanted 1, as KVM has one")
        if not self._smm:
            for name in SMM:
                if fields["events"][name]:
                    raise NotTransferable(f"events.{name}: 1; wanted 0, as this KVM has no system management mode")

    def _set(self, what: str, request: str, kind: str, values: dict[str, Any]) -> None:
        self._call(what, request, self.ffi.new(f"{kind} *", values))

    def _give_special(self, fields: dict[str, Any]) -> None:
        values = to_special(fields)
        if fields["control"]["pdptrs_valid"]:
            values |= {"flags": self.lib.KVM_SREGS2_FLAGS_PDPTRS_VALID, "pdptrs": fields["control"]["pdptr"]}
        self._set("control", "KVM_SET_SREGS2", "struct kvm_sregs2", values)

    def _give_xsave(self, state: Any, fields: dict[str, Any]) -> None:
        self._set("control.xcr0", "KVM_SET_XCRS", "struct kvm_xcrs", {
            "nr_xcrs": 1, "xcrs": [{"xcr": 0, "value": fields["control"]["xcr0"]}]})
        area = self.ffi.new("struct kvm_xsave *")
        self.ffi.buffer(area.region)[:] = bytes_of(state.xsave)
        self._call("xsave", "KVM_SET_XSAVE", area)

    def _call(self, what: str, request: str, argument: Any) -> None:
        result = self.lib.kvm_call(self.vcpu.fd, getattr(self.lib, request), argument)
        if result < 0:
            raise NotTransferable(f"{what}: this KVM refuses it ({request}: {os.strerror(-result)})")

    def _give_apic(self, registers: list[int]) -> None:
        lapic = self.vcpu.get_lapic()
        page = self.ffi.buffer(lapic)
        for i, value in enumerate(registers):
            page[16 * i:16 * i + 4] = value.to_bytes(4, "little")
        self._call("apic", "KVM_SET_LAPIC", lapic)

    def _all_events(self) -> int:
        """What is given of them: the others stay as they are."""
        lib = self.lib
        flags = lib.KVM_VCPUEVENT_VALID_NMI_PENDING | lib.KVM_VCPUEVENT_VALID_SHADOW | \
            lib.KVM_VCPUEVENT_VALID_SIPI_VECTOR
        return flags | (lib.KVM_VCPUEVENT_VALID_SMM if self._smm else 0)

    def _give_events(self, events: dict[str, int], flags: int) -> None:
        given = self.ffi.new("struct kvm_vcpu_events *")
        for ours, theirs in EVENTS.items():
            *outer, last = theirs.split(".")
            setattr(getattr(given, outer[0]) if outer else given, last, events[ours])
        given.flags = flags
        self._call("events", "KVM_SET_VCPU_EVENTS", given)


def meant(where: str, value: int) -> int:
    """Without what makes no difference to a CPU: which of the two shadows it is, as AMD's have one (APM 2, 15.21.5); G
    beside a limit in bytes, of which KVM makes it on AMD; and of a segment that is unusable, all else (SDM 3, 25.4.1),
    which is what KVM makes of one that is not present."""
    if where == "events.shadow":
        return int(value != 0)
    if where.endswith(".access"):
        return UNUSABLE if value & UNUSABLE or not value & PRESENT else value & ~GRANULAR
    return value


def _at(struct: Any, path: str) -> int:
    for name in path.split("."):
        struct = getattr(struct, name)
    return struct
