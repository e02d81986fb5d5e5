"""Why the kernel half has no timers: what vmm/device/timers.py says of BPF programs on tracepoints."""

import subprocess
from pathlib import Path

import pytest

from vmm.kvm.bpf import BpfUnavailable, Maps, Object

SOURCE = Path(__file__).with_name("timer.bpf.c")


def test_programs_on_tracepoints_may_not_have_timers(clang, bpf_run, tmp_path):
    """Should a kernel allow them one day, this test tells."""
    multiarch = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True).stdout.strip()
    built = tmp_path / "timer.bpf.o"
    subprocess.run(["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", f"-I/usr/include/{multiarch}", "-c", SOURCE,
                    "-o", built], check=True)
    maps = Maps()
    with pytest.raises(BpfUnavailable, match="tracing progs cannot use bpf_timer yet"):
        Object(built, maps, {}, {})
    maps.close()
