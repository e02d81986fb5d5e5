"""The tables of --stats: no verdict on what was not tried."""

from io import StringIO
from types import SimpleNamespace

from vmm import Machine, MachineConfig
from vmm.machine import stats


def told(*partial):
    with Machine(MachineConfig(memory=1 << 20, serial="null", kvm=False)) as machine:
        machine.partial, machine.first_run_s = list(partial), 0.0
        stats.print_stats(machine, out := StringIO())
    return out.getvalue()


def test_what_was_never_run_on_has_no_verdict():
    def spot(rip, runs, pays):
        return {"rip": rip, "exits": 9, "runs": runs, "spared": 0, "ticks": 0, "kvm_ticks": 7, "pays": pays}
    partial = SimpleNamespace(vcpu=SimpleNamespace(index=0), counters=lambda: {"runs": 1, "blocks": 1, "spared": 0},
                              table=lambda: [spot(0x1000, 0, True), spot(0x2000, 1, True), spot(0x3000, 1, False)])
    verdicts = {row.split("│")[1].strip(): row.split("│")[-2].strip()
                for row in told(partial).splitlines() if row.startswith("│ ") and "0x" in row}
    assert verdicts == {"0x1000": "-", "0x2000": "yes", "0x3000": "no"}
