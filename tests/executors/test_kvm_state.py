"""KVM's vCPUs and the declared state: what goes in comes out, and what cannot is refused by its name."""

from contextlib import closing
from pathlib import Path
from time import sleep

import pytest

from tests.guest.test_guests import run
from tests.scale import scaled
from vmm.devmodel.vcpu import Activity
from vmm.devmodel.view import to_dict
from vmm.executors.check import GRANULAR, UNUSABLE
from vmm.executors.generated import MODES, States
from vmm.executors.kvm_msrs import KvmMsrs
from vmm.executors.kvm_state import FATES, KvmState, meant
from vmm.executors.state import blank, differences, write_all
from vmm.executors.transfer import NotTransferable, Rebuilt
from vmm.kvm.memory import GuestMemory
from vmm.kvm.ring0 import emulated
from vmm.kvm.vm import Vcpu, Vm
from vmm.machine.config import DiskConfig

# of a KVM that emulates ring 0: what it makes of them is not what was given
NOT_THERE = {"pae": "control.cr0: 0x8", "vm86": "general.rflags: 0x"}


AMD = "AuthenticAMD" in Path("/proc/cpuinfo").read_text()


@pytest.fixture
def two(kvm):
    """Two vCPUs that were reset."""
    with closing(Vm()) as vm, closing(GuestMemory(1 << 20)) as memory:
        for slot in memory.slots():
            vm.add_memory(*slot)
        with closing(Vcpu(vm, 0, 2)) as one, closing(Vcpu(vm, 1, 2)) as other:
            yield KvmState(one), KvmState(other)


def taken(vcpu):
    state = blank()
    vcpu.take(state)
    return state


def carried(one, other):
    return [(where, found, value) for where, found, value in differences(one, other)
            if not isinstance(FATES[where.split("[")[0]], Rebuilt) and meant(where, found) != meant(where, value)]


def test_a_vcpu_that_was_reset(two):
    """SDM 3, table 10-1."""
    state = taken(two[0])
    assert (state.general.rip, state.segments.cs.base, state.segments.cs.selector) == (0xfff0, 0xffff0000, 0xf000)
    assert state.general.rflags == 2 and state.control.cr0 == 0x60000010 and state.xsave.fcw == 0x37f
    assert state.debug.dr6 == 0xffff0ff0 and state.debug.dr7 == 0x400 and state.msrs.pat == 0x0007040600070406
    assert state.segments.cs.access & 0x1009e == 0x9a and state.segments.ldt.access & 0xf in (0, 2)


def test_a_sipi_that_has_come(two):
    """It is taken with the state, all of which is that of behind it."""
    waiting = blank()
    write_all(waiting, to_dict(taken(two[1])) | {"activity": int(Activity.SIPI_RECEIVED)})
    waiting.events.sipi_vector = 0x12
    vcpu = two[1]
    vcpu._give(waiting, vcpu._after_msrs)
    state = taken(vcpu)
    assert (state.activity, state.segments.cs.base, state.general.rip) == (Activity.RUNNABLE, 0x12000, 0)


@pytest.mark.parametrize("mode", MODES)
def test_there_and_back(two, mode):
    """From a generated state to one vCPU, from there to another, and out of that again: bit by bit."""
    states, refused = States(to_dict(taken(two[0])), MODES.index(mode), 32 if AMD else 64), 0
    for _ in range(scaled(60)):
        state = blank()
        write_all(state, states.next(mode))
        try:
            two[0].give(state)
        except NotTransferable as error:
            assert emulated() and str(error).startswith(NOT_THERE.get(mode, "nothing")), error
            refused += 1
            continue
        between = taken(two[0])
        two[1].give(between)
        assert not carried(state, between) and not carried(state, taken(two[1]))
    assert not refused or refused == scaled(60)


@pytest.mark.parametrize("field, value, says", [
    ("control.cr0", 1 << 31, "control.cr0: 0x80000000; wanted no bits but"),
    ("control.cr4", 1 << 40, "control.cr4"),
    ("control.efer", 1 << 19, "control.efer: 0x80000; wanted no bits but .*, and LMA just when LME"),
    ("control.cr8", 7, "control.cr8: 0x7; wanted bits 4 to 7 of the APIC's task priority"),
    ("control.xcr0", 4, "control.xcr0"),
    ("control.apic_base", 0xfee00400, "control.apic_base"),
    ("general.rip", 1 << 62, "general.rip: 0x4000000000000000; wanted a canonical address"),
    ("general.rflags", 0, "general.rflags"),
    ("segments.ds.limit", 0x100000, "segments.ds.limit: 0x100000; wanted whole pages"),
    ("segments.ss.base", 1 << 32, "segments.ss.base"),
    ("segments.fs.base", 1 << 50, "segments.fs.base"),
    ("segments.tr.access", 1 << 20, "segments.tr.access"),
    ("segments.gdt.base", 1 << 50, "segments.gdt.base"),
    ("debug.dr7", 1 << 32, "debug.dr7"),
    ("xsave.mxcsr", 1 << 16, "xsave.mxcsr"),
    ("xsave.xstate_bv", 0x403, "xsave.xstate_bv"),
    ("xsave.xcomp_bv", 1 << 63, "xsave.xcomp_bv"),
    ("events.exception_nr", 32, "events.exception_nr"),
    ("events.nmi_masked", 2, "events.nmi_masked"),
    ("msrs.count", 193, "msrs.count"),
    ("timing.tsc_khz", 1, "timing.tsc_khz: 1; wanted .*, which this host has"),
    ("apic_present", 0, "apic_present"),
])
def test_what_no_cpu_can_be_is_refused_by_its_name(two, field, value, says):
    state = taken(two[0])
    *outer, last = field.split(".")
    at = state
    for name in outer:
        at = getattr(at, name)
    setattr(at, last, value)
    before = taken(two[1])
    with pytest.raises(NotTransferable, match=says):
        two[1].give(state)
    assert not carried(before, taken(two[1]))


def as_amd_has_it(segments, events):
    segments.ds.access &= ~GRANULAR     # of a limit less than 1 MiB
    segments.es.access |= GRANULAR
    segments.fs.access = UNUSABLE
    events.shadow = 3


@pytest.mark.parametrize("also, says", [
    (lambda state: None, ""),
    (lambda state: setattr(state.events, "shadow", 0), "events.shadow: 0x1; this KVM makes 0x0 of it"),
    (lambda state: setattr(state.segments.ds, "limit", 0xffff), "segments.ds.limit: 0xfff; this KVM makes 0xffff"),
    (lambda state: setattr(state.segments.ds, "access", 0x91), "segments.ds.access: 0x8093; this KVM makes 0x91 of it"),
    (lambda state: setattr(state.segments.es, "access", UNUSABLE), "segments.es.access"),
])
def test_what_makes_no_difference_to_a_cpu_is_none(two, monkeypatch, also, says):
    """A KVM that says of itself what AMD's does, and one that does more than that."""
    state = taken(two[0])
    state.segments.ds.access, state.segments.ds.limit = 0x93 | GRANULAR, 0xfff
    state.segments.fs.access |= UNUSABLE
    state.events.shadow = 1
    read = KvmState._read

    def other(vcpu, into):
        read(vcpu, into)
        as_amd_has_it(into.segments, into.events)
        also(into)
    monkeypatch.setattr(KvmState, "_read", other)
    if not says:
        return two[1].give(state)
    with pytest.raises(NotTransferable, match=says):
        two[1].give(state)


def test_an_msr_that_is_not_there(two):
    state = taken(two[0])
    state.msrs.others[state.msrs.count].index, state.msrs.others[state.msrs.count].value = 0x12345, 1
    state.msrs.count += 1
    with pytest.raises(NotTransferable, match=r"msrs\.others\[\d+\], MSR 0x12345: 0x1; this KVM refuses it"):
        two[1].give(state)


@pytest.mark.parametrize("guest, words, cpus", [("check.elf", "rounds=20", 1), ("twocpus.elf", "requests=4000", 2)])
def test_guests_go_on_from_their_state(tmp_path, mode, image, guest, words, cpus):
    """Taken out of a running guest and given back, again and again, with its disk and all vCPUs busy: what the guest
    has checked is right."""
    done = []

    def hand_over(machine):
        vcpus = [KvmState(vcpu) for vcpu in machine.vcpus]
        while machine.running.status is None and len(done) < scaled(200):
            with machine.running.paused():
                if machine.running.status is None:
                    done.append(sum(map(went_through, vcpus)) == cpus)
            sleep(0.002)
    status, text, _ = run(tmp_path, guest, [DiskConfig(image, offload=mode, queues=3)], words, cpus=cpus,
                          during=hand_over)
    assert status == 0, text
    assert sum(done) > scaled(20), len(done)


def went_through(vcpu):
    """Whether it was between two instructions."""
    state = blank()
    try:
        vcpu.take(state)
    except NotTransferable as error:
        assert "in the midst of an instruction" in str(error)
        return False
    vcpu.give(state)
    return True


def test_hyper_v_clocks_are_not_taken(two, monkeypatch):
    """HV_X64_MSR_VP_RUNTIME and HV_X64_MSR_TIME_REF_COUNT, which KVM lists whether or not a guest can see them."""
    clocks = [0x40000010, 0x40000020]
    monkeypatch.setattr(KvmMsrs, "_listed", lambda msrs: [0x8b, *clocks, 0x40000200])
    asked = []
    monkeypatch.setattr(KvmMsrs, "_there", lambda msrs, indices: asked.append(list(indices)) or indices[:1])
    KvmMsrs(two[0].vcpu)
    assert not {*clocks} & {*asked[0]} and {0x8b, 0x40000200} <= {*asked[0]}
