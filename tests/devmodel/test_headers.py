"""Committed headers are what the schemas say, and build both ways."""

import shutil
import subprocess

import pytest

from vmm.devmodel.headers import committed
from vmm.paths import ROOT


@pytest.mark.parametrize("name", committed())
def test_up_to_date(name):
    assert (ROOT / name).read_text() == committed()[name]


@pytest.mark.parametrize("name", committed())
@pytest.mark.parametrize("compiler", ["gcc", "clang -target bpf"])
def test_compiles(name, compiler):
    command = compiler.split()
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]} on this machine")
    multiarch = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True).stdout.strip()
    subprocess.run([*command, f"-I/usr/include/{multiarch}", "-x", "c", "-fsyntax-only", "-Wall", "-Werror",
                    ROOT / name], check=True)
