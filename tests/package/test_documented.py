"""What developers may set in the environment is in CONTRIBUTING.md, and what is there exists."""

import re

from vmm.paths import ROOT

USED = re.compile(r"""environ(?:\.get\(|\[)["'](SPLITVMM_\w+)""")


def test_variables():
    used = {name for top in ("vmm", "tools", "tests", "examples") for path in (ROOT / top).rglob("*.py")
            for name in USED.findall(path.read_text())}
    assert used == set(re.findall(r"^\| `(SPLITVMM_\w+)", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
