"""What is fuzzed: built by make, run by libFuzzer's own main(), with a committed corpus of inputs."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vmm.errors import UserError
from vmm.paths import ROOT

HERE = Path(__file__).parent
TARGETS = [path.stem for path in sorted(HERE.glob("*.c"))]
LONGEST = 16 + 8 * 128      # bytes of an input: setup and steps
STEP = re.compile(r"^setup|^ *\d+ |^    meanwhile|^defect|^==\d+==ERROR|runtime error|"
                  r"^ +#\d+ .*(kernel_devices|tools/fuzz)/")


@dataclass(frozen=True)
class Target:
    """One device's harness, or the dispatcher's; `folder` is where what is built of it lies."""

    name: str
    folder: Path = ROOT / "build/fuzz"

    @property
    def program(self) -> Path:
        return self.folder / self.name

    @property
    def committed(self) -> Path:
        """One input a line, in hexadecimal."""
        return HERE / "corpus" / f"{self.name}.txt"

    @property
    def found(self) -> Path:
        """Where libFuzzer keeps inputs, a file each."""
        return self.folder / "corpus" / self.name

    def inputs(self) -> list[bytes]:
        """Raises UserError if the committed ones are none."""
        try:
            return [bytes.fromhex(line) for line in self.committed.read_text().split()]
        except ValueError as error:
            raise UserError(f"{self.committed}: {error}; wanted an input in hexadecimal a line") from None
        except FileNotFoundError:
            return []

    def commit(self, inputs: Iterable[bytes]) -> None:
        self.committed.parent.mkdir(exist_ok=True)
        self.committed.write_text("".join(f"{one.hex()}\n" for one in sorted(inputs, key=lambda one: (len(one), one))))

    def unpack(self) -> None:
        """The committed inputs, as files beside what was found earlier."""
        self.found.mkdir(parents=True, exist_ok=True)
        for number, one in enumerate(self.inputs()):
            (self.found / f"committed-{number:03}").write_bytes(one)

    def run(self, *arguments: object, text: bool = False) -> subprocess.CompletedProcess[str]:
        """libFuzzer with these; `text` has the steps of an input printed."""
        environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0", **({"FUZZ_SAY": "1"} if text else {})}
        return subprocess.run([self.program, *map(str, arguments)], env=environment, cwd=ROOT, text=True,
                              errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def steps(self, path: Path) -> tuple[bool, str]:
        """Whether an input goes well, and what it does, as text."""
        done = self.run(path, text=True)
        return done.returncode == 0, "\n".join(line for line in done.stdout.splitlines() if STEP.search(line))


def build(names: Iterable[str], *variables: str) -> None:
    """Builds the harnesses.  Raises UserError with what the compiler said."""
    into = next((v.partition("=")[2] for v in variables if v.startswith("FUZZ_INTO=")), "build/fuzz")
    done = subprocess.run(["make", "-s", f"-j{os.cpu_count()}", *variables, *(f"{into}/{name}" for name in names)],
                          cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise UserError(f"fuzz: the harnesses do not build:\n{done.stdout}")
