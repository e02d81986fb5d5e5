"""Users' programs are checked against our types, as installed."""

import subprocess
import sys

import pytest

from vmm.paths import ROOT

WRONG = {
    "from vmm import Machinery": 'Module "vmm" has no attribute "Machinery"',
    "import vmm\nvmm.MachineConfig(memory='1G')": 'incompatible type "str"; expected "int"',
    "from vmm import RegisterDevice\nRegisterDevice('x').plage": '"RegisterDevice" has no attribute "plage"',
    "from vmm.devmodel.schema import reg\nreg(0, 'u32', 'x')": 'incompatible type "str"; expected "Type"',
}


@pytest.fixture(scope="module")
def mypy(installed, tmp_path_factory):
    cache = tmp_path_factory.mktemp("mypy")

    def run(path) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, "-m", "mypy", "--strict", "--python-executable", installed.python,
                               "--cache-dir", cache, path], cwd=installed.elsewhere, capture_output=True, text=True)
    return run


def test_the_example(mypy):
    done = mypy(ROOT / "examples" / "adder" / "adder.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_mistakes(mypy, tmp_path):
    path = tmp_path / "wrong.py"
    for code, says in WRONG.items():
        path.write_text(code + "\n")
        done = mypy(path)
        assert done.returncode == 1 and says in done.stdout, f"{code}: {done.stdout}{done.stderr}"
