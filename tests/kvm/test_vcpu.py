"""What is said when KVM gives up on a vCPU."""

from types import SimpleNamespace

import pytest

from vmm.kvm.vcpu import VcpuThread

REASONS = "SHUTDOWN HLT FAIL_ENTRY INTERNAL_ERROR SYSTEM_EVENT".split()


def thread(rip, base):
    lib = SimpleNamespace(exit_detail=lambda run: 0, **{f"KVM_EXIT_{name}": i for i, name in enumerate(REASONS)})
    vcpu = SimpleNamespace(index=0, lib=lib, kvm_run=None, describe=lambda: f"rip {rip:#x}",
                           get_regs=lambda: SimpleNamespace(rip=rip),
                           get_sregs=lambda: SimpleNamespace(cs=SimpleNamespace(base=base)))
    return VcpuThread(vcpu, None, None)


@pytest.mark.parametrize("rip, base, reset", [(0xfff0, 0xffff0000, True), (0xfff0, 0, False), (0x100000, 0, False)])
def test_shutdown_says_whose_the_registers_are(rip, base, reset):
    said = thread(rip, base)._explain(0)
    assert "triple fault" in said and said.endswith(f"rip {rip:#x}") and ("say nothing of the guest" in said) == reset
