"""`splitvmm test`: a device's tests, which lie beside it as test_*.py."""

from __future__ import annotations

import importlib.util
import os
import sys

from ..errors import UserError
from ..paths import ROOT
from . import children
from .load import Named


def check_pytest() -> None:
    """Raises UserError."""
    if importlib.util.find_spec("pytest") is None:
        raise UserError("no pytest here, which runs the tests; wanted it installed, as by pip install pytest")


def run_tests(found: Named, arguments: list[str]) -> int:
    """Run them by pytest, in a process of its own; its exit status.  Raises UserError."""
    here = found.path.parent
    tests = sorted(here.glob("test_*.py"))
    if not tests:
        raise UserError(f"{here}: no test_*.py; wanted tests beside {found.path.name}")
    search = os.pathsep.join(filter(None, (str(here), str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "pytest", "-p", "vmm.testing.plugin", "-p", "vmm.verify.plugin",
               "--rootdir", str(here), "-c", os.devnull, "-p", "no:cacheprovider", *map(str, tests), *arguments]
    return children.run(command, cwd=here, env={**os.environ, "PYTHONPATH": search}).returncode
