"""The state of a vCPU that was reset, held against KVM's."""

from contextlib import closing

from vmm.devmodel.view import to_dict
from vmm.executors.check import problems
from vmm.executors.kvm_state import KvmState, meant
from vmm.executors.reset import reset
from vmm.executors.state import blank, differences, write_all
from vmm.kvm.vm import Vcpu, Vm

# the host's, the APIC's own, and SSE, which is on
OTHERS = ("timing.", "xsave.", "msrs.", "apic[", "general.rdx", "control.xcr0")


def test_a_cpu_can_be_that():
    assert not list(problems(reset() | {"apic_present": 0}))


def test_as_kvm_has_it(kvm):
    ours, theirs = blank(), blank()
    write_all(ours, reset())
    with closing(Vm()) as vm:
        vcpu = Vcpu(vm, 0, 1)
        KvmState(vcpu).take(theirs)
    found = [each for each in differences(ours, theirs) if not each[0].startswith(OTHERS)]
    assert [each for each in found if meant(each[0], each[1]) != meant(each[0], each[2])] == []
    assert to_dict(ours)["msrs"]["pat"] == theirs.msrs.pat
