"""`splitvmm bench linux`, the shortest there is: its rows are as documented.  No figure is judged here."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
# in a process of its own, as it goes to another network namespace
SHORT = """
import json
from vmm.bench import linux
from vmm.bench.rows import LinuxCase
linux.linux_disk_cases = lambda: [LinuxCase("read", 4096, 32, "writeback"), LinuxCase("write", 4096, 1, "none")]
linux.linux_net_cases = lambda: [LinuxCase("ping", 64), LinuxCase("udp-send", 64)]
print(json.dumps(linux.rows(["on"], [], 1, True)))
"""


def test_bench(linux, network):
    done = subprocess.run([sys.executable, "-c", SHORT], cwd=ROOT, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(row["op"], row["cache"]) for row in rows] == [
        ("boot", None), ("read", "writeback"), ("write", "none"), ("ping", None), ("udp-send", None)]
    for row in rows:
        assert row["requests"] >= 1 and row["ns_min"] <= row["ns_per_request"] <= row["ns_max"]
        assert row["cpu_ns_per_request"] > row["cpu_vcpu_ns"] > 0 and row["exits"] > row["exits_to_user"] > 0
