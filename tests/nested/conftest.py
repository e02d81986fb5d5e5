"""Linux guests need a KVM that runs them: skipped elsewhere, and run by `make test-nested`."""

import os

import pytest

from tools.nested.files import DISK, KERNELS, boot
from vmm.bench.linux import hardware_kvm


@pytest.fixture(scope="session")
def linux(kvm):
    """The folder of a guest's kernel and initial RAM disks."""
    if not hardware_kvm():
        pytest.skip("no SVM or VMX here: this KVM cannot run a Linux of a distribution")
    home = boot(os.environ.get("SPLITVMM_GUEST_KERNEL", next(iter(KERNELS))))
    if not (home / "version").exists() or not DISK.exists():
        pytest.skip(f"{home} is not built: python -m tools.nested.build")
    return home
