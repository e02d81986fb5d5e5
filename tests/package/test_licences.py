"""Licences are said where they count: to the kernel, and of every file."""

import re
import tomllib
from fnmatch import fnmatch

import pytest
from elftools.elf.elffile import ELFFile

from vmm.devmodel.headers import state_layouts
from vmm.paths import BUILD, ROOT

DUAL = "GPL-2.0-only OR MIT"


@pytest.mark.parametrize("stem", ["exit_path", *state_layouts()])
def test_what_the_kernel_is_told(stem):
    with open(BUILD / f"{stem}.bpf.o", "rb") as file:
        assert ELFFile(file).get_section_by_name("license").data() == b"Dual MIT/GPL\0"


def licence(path: str) -> str:
    """As REUSE.toml has it: the last annotation that fits."""
    found = ""
    for each in tomllib.loads((ROOT / "REUSE.toml").read_text())["annotations"]:
        patterns = [each["path"]] if isinstance(each["path"], str) else each["path"]
        if any(fnmatch(path, pattern) for pattern in patterns):
            found = each["SPDX-License-Identifier"]
    return found


def test_what_is_built_as_bpf_has_both_licences():
    """kernel_devices/, and whatever includes its headers, or is BPF by its name."""
    includes = re.compile(r'#include "(ownership|device|doorbell)\.h"')
    places = [*(ROOT / "kernel_devices").rglob("*"), *(path for top in ("examples", "tests", "tools", "guests", "vmm")
              for path in (ROOT / top).rglob("*.c") if "build" not in path.parts
              and (includes.search(path.read_text()) or path.name.endswith(".bpf.c")))]
    names = [str(path.relative_to(ROOT)) for path in places if path.is_file()]
    assert "tests/guest/counter.c" in names and len(names) > 30
    assert {name for name in names if licence(name) != DUAL} == set()
    assert licence("vmm/__init__.py") == licence("guests/check.c") == "MIT"


def test_texts():
    used = {word for each in (DUAL, "MIT") for word in each.split(" OR ")}
    assert {path.stem for path in (ROOT / "LICENSES").iterdir()} == used
