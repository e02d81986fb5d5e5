"""What becomes of the declared state in a CPU of Unicorn's.

What Unicorn has is given by a saved context with its words changed (unicorn_places.py, vmm/native/emulator_state.c),
hidden parts of segments included.  What it has not stays in the state, beside it.  What runs wrongly without it is
refused.
"""

from __future__ import annotations

from ..devmodel.vcpu import Activity
from ..devmodel.view import View, to_dict
from .transfer import Carried, NotTransferable, Refused, complete, refuse_impossible
from .unicorn_places import places

CONTEXT, CALLS, BESIDE = Carried("a saved context"), Carried("Unicorn's calls"), Carried("beside it: it has none")
FATES = complete({
    "general": CONTEXT, "general.rflags": CALLS, "segments": CONTEXT, "control": CONTEXT,
    "control.xcr0": BESIDE, "control.apic_base": BESIDE, "control.pdptr": BESIDE, "control.pdptrs_valid": BESIDE,
    "debug": CONTEXT, "msrs": BESIDE, **{f"msrs.{name}": CONTEXT for name in ("sysenter_cs", *places().msrs)},
    "xsave": CONTEXT, "xsave.mxcsr_mask": BESIDE, "xsave.unused": BESIDE, "xsave.xstate_bv": BESIDE,
    "xsave.xcomp_bv": BESIDE, "xsave.header": BESIDE, "xsave.extended": BESIDE,
    "events": Refused("it delivers none; what waits has to be delivered first"), "events.shadow": CONTEXT,
    "events.nmi_masked": CONTEXT, "events.nmi_pending": BESIDE, "events.sipi_vector": BESIDE,
    "events.exception_nr": BESIDE, "events.exception_has_error": BESIDE, "events.exception_error": BESIDE,
    "events.exception_payload": BESIDE,
    "events.exception_has_payload": BESIDE, "events.interrupt_nr": BESIDE, "events.interrupt_soft": BESIDE,
    "timing": BESIDE, "timing.tsc_offset": CONTEXT, "activity": Refused("it runs, or is not asked to"),
    "apic_present": BESIDE, "apic": BESIDE,
})
BREAKPOINTS = 0xff          # of dr7: those that are switched on

EVENTS = ("exception_injected", "exception_pending", "interrupt_injected", "nmi_injected", "smm", "smi_pending",
          "smm_inside_nmi", "latched_init", "triple_fault")


def refuse(state: View) -> None:
    """Raises NotTransferable for what Unicorn cannot run."""
    fields = to_dict(state)
    refuse_impossible(fields)
    for name in EVENTS:
        if fields["events"][name]:
            raise NotTransferable(f"events.{name}: 1; wanted it delivered, which Unicorn does not do")
    if fields["activity"] != Activity.RUNNABLE:
        raise NotTransferable(f"activity: {fields['activity']}; wanted 0: a vCPU that runs")
    if fields["debug"]["dr7"] & BREAKPOINTS:
        raise NotTransferable(f"debug.dr7: {fields['debug']['dr7']:#x}; wanted none: Unicorn misses them")
