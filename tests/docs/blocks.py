"""What a page has its reader do, taken from its fenced blocks, and done.

    ```console              commands, after `$ `, and below each what it says: `…` stands for anything within a line,
                            and alone on a line for any lines
    ```c title="FILE"       the text of a file
    ```diff title="FILE"    a change of one: what is there, in place of which comes what is to be

A comment before a block, `<!-- needs: kvm, bpf; status: 64 -->`, has the fixtures without which it is left out, and
the status that its last command ends with, if not 0.  Any other block is for reading.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r'^(?:<!-- (?P<notes>[^\n]*) -->\n)?```(?P<kind>\w*)'
                   r'(?: title="(?P<file>[^"]+)")?\n(?P<text>.*?)^```$',
                   re.MULTILINE | re.DOTALL)
TIMEOUT_S = 120


@dataclass(frozen=True)
class Block:
    kind: str
    file: str           # or ""
    text: str
    needs: tuple[str, ...] = ()
    status: int = 0


def blocks(page: str) -> list[Block]:
    return [_block(found) for found in BLOCK.finditer(page)]


def _block(found: re.Match) -> Block:
    notes = dict(note.split(": ") for note in (found["notes"] or "").split("; ") if note)
    unknown = set(notes) - {"needs", "status"}
    assert not unknown, f"{unknown} before a block; wanted needs: or status:"
    return Block(found["kind"], found["file"] or "", found["text"],
                 tuple(filter(None, notes.get("needs", "").split(", "))), int(notes.get("status", 0)))


def commands(text: str) -> list[tuple[str, str]]:
    """(command, what is shown of its output) of a console."""
    first, *parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
    assert not first and parts, f"a console that begins with {first!r}; wanted a command after `$ `"
    return [tuple(part.split("\n", 1)) for part in parts]


def shows(said: str, shown: str) -> bool:
    """Whether a page shows this output."""
    pattern = "".join(r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + r"[ ]*\n"
                      for line in shown.splitlines())
    return re.fullmatch(pattern, said if said.endswith("\n") or not said else said + "\n") is not None


def do(block: Block, folder: Path, environment: dict[str, str]) -> None:
    """Do in a folder what a block says; AssertionError where something else comes of it."""
    if block.kind == "console":
        lines = commands(block.text)
        for command, shown in lines:
            _run(command, shown, block.status if command == lines[-1][0] else 0, folder, environment)
    elif block.file and block.kind == "diff":
        _change(folder / block.file, block.text)
    elif block.file:
        (folder / block.file).write_text(block.text)


def _run(command: str, shown: str, status: int, folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT_S)
    assert done.returncode == status, f"$ {command}\nended with {done.returncode}; wanted {status}\n{done.stdout}"
    assert shows(done.stdout, shown), f"$ {command}\nsaid\n{done.stdout}\nand the page has\n{shown}"


def _change(path: Path, text: str) -> None:
    lines = text.splitlines(keepends=True)
    assert {line[0] for line in lines} <= set(" +-"), f"{path}: {text}; wanted lines that begin with ' ', + or -"
    before, after = ("".join(line[1:] for line in lines if line[0] in kinds) for kinds in (" -", " +"))
    there = path.read_text()
    assert there.count(before) == 1, f"{path} has {there.count(before)} times\n{before}\nand is\n{there}"
    path.write_text(there.replace(before, after))
