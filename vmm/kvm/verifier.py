"""Why a BPF object was not loaded, for whoever wrote its C: which line, the kernel's words, what to do."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from .advice import advice
from .source_lines import Line, SourceLines

BEGIN, END = b"-- BEGIN PROG LOAD LOG --\n", b"-- END PROG LOAD LOG --"     # as libbpf has them
TAIL = 1 << 20      # bytes of a log that are looked at: of a million instructions, the last ones tell
WORDS = 3           # lines of what is said that are shown

STEP = re.compile(r"(\d+): \(([0-9a-f]{2})\) ")
SOURCE = re.compile(r"; ?(.*?)(?: @ ([^\s:]+):(\d+))?$")
WHOSE = re.compile(r"Validating (\w+)\(\)|.*\b[Ff]unction (\w+)\(\)")
# Where the verifier goes on with a branch that it had left for later.
RESUMED = re.compile(r"\d+: \(.* \d+: (frame\d+: )?R\d|from \d+ to \d+:")
# Neither an instruction nor what is wrong: registers, functions, branches, counts.
NOISE = re.compile(r"\s|;|\d+: |R\d+(_\w+)?=|from \d+ to |(cur|old) state:|[Ff]unc#\d+ |$|"
                   r"(caller|callee|returning from callee|to caller at \d+):|mark_precise: |last_idx |regs=|parent |"
                   r"propagating |Validating |processed |verification time |stack depth ")
ELSEWHERE = re.compile(r"\b(?:at|from|unreachable) insn (\d+)|\balloc_insn=(\d+)")
EXIT = 0x95         # opcode


@dataclass(frozen=True)
class Step:
    """An instruction that the verifier came to."""

    number: int
    opcode: int
    source: Line | None     # where the log tells for sure; without a file if it tells the text alone


@dataclass
class Log:
    """What the verifier said of one program."""

    steps: list[Step] = field(default_factory=list)
    words: list[str] = field(default_factory=list)      # what is wrong
    function: str = ""                                  # of which that is said, if no step was taken in it

    def failing(self) -> int | None:
        """The number of the instruction that is refused, if it is one."""
        words = "\n".join(self.words)
        row = advice(words)
        if found := ELSEWHERE.search(words):
            return int(found[1] or found[2])
        if not self.steps or self.function or (row and row.whole) or (not row and self.steps[-1].opcode == EXIT):
            return None
        return self.steps[-1].number


def parse(text: str) -> Log:
    """A log as Linux has written it since 5.2; from 6.8 on it has files and numbers of lines."""
    log, source = Log(), None
    for line in text.splitlines():
        if found := STEP.match(line):
            log.steps.append(Step(int(found[1]), int(found[2], 16), source))
            log.words, log.function = [], ""
        elif line.startswith(";"):
            found = SOURCE.match(line)
            source = Line(found[2] or "", int(found[3] or 0), found[1].strip())
        elif not NOISE.match(line):
            log.words.append(line.rstrip("."))
        if RESUMED.match(line):     # a line that it named on another branch is not named again
            source = None
        elif (found := WHOSE.match(line)) and (found[1] or not log.steps):
            log.function = found[1] or found[2]
    return log


def place(log: Log, program: str, built: SourceLines | None) -> list[Line]:
    """The line that is refused, then the one that was inlined there, if any; nothing that is not sure."""
    number = log.failing()
    if number is None:
        found = built.definition(log.function) if built else None
        return [found] if found else []
    if built and (found := _chain(log, program, built, number)):
        own = built.own(found)
        return [own] if own == found[0] else [own, found[0]]
    said = next((step.source for step in reversed(log.steps) if step.number == number), None)
    if said and not said.number and built:
        said = built.with_text(said.text)
    return [said] if said and said.number else []


def _chain(log: Log, program: str, built: SourceLines, number: int) -> list[Line]:
    """An instruction's lines, if the program is laid out as we think: each line that the log names must be
    where we have it."""
    layout = built.layout(program)

    def lines(number: int, look) -> list[Line] | Line | None:
        return next((look(function, number - base) for base, function in layout if 0 <= number - base < function.count),
                    None)
    if all(_same(step.source, lines(step.number, built.line)) for step in log.steps if step.source):
        return lines(number, built.chain) or []
    return []


def _same(said: Line, line: Line | None) -> bool:
    return line is not None and said.text == line.text and \
        (not said.file or (said.file, said.number) == (os.path.basename(line.file), line.number))


def explain(path: Path, error: str, said: bytes, kept: Path | None = None) -> str:
    """Why an object was refused; the first line of it will do.  `said` is what libbpf and the kernel said, which
    is `kept` in a file, if so."""
    begin, end = said.rfind(BEGIN), said.rfind(END)
    if begin < 0:
        return _explain_without_log(path, error, said.decode(errors="replace"))
    log = parse(said[max(begin + len(BEGIN), end - TAIL):end].decode(errors="replace"))
    program = re.search(rb"prog '([^']*)': $", said[:begin])
    lines = place(log, program[1].decode() if program else "", _built(path))
    row = advice("\n".join(log.words))
    hint = f"in {kept}" if kept else "--verifier-log FILE, or MachineConfig.verifier_log"
    return "\n".join([_first(lines[0] if lines else path, "the verifier refuses it", log.words or [error], row),
                      *(f"    {line.text}" for line in lines[:1] if line.text),
                      *(f"    {line}: {line.text}" for line in lines[1:]),
                      f"(the whole log: {hint})"])


def _explain_without_log(path: Path, error: str, said: str) -> str:
    """What went wrong before the verifier."""
    words = [line.removeprefix("libbpf: ") for line in said.splitlines()]
    words = [line for line in words if not re.match(r"prog '|failed to load object|permission error|$", line)] + [error]
    row = advice("\n".join(words))
    missing = re.search(r"extern (?:\(func ksym\) )?'(\w+)'", words[0])
    built = _built(path) if missing else None
    line = built.use_of(missing[1]) if built else None
    return "\n".join([_first(line or path, "it cannot be loaded", words, row),
                      *([f"    {line.text}"] if line and line.text else [])])


def _first(where, what: str, words: list[str], row) -> str:
    """The line that will do."""
    return f"{where}: {what}: {', '.join(words[:WORDS])}" + (f"; {row.todo}" if row else "")


def _built(path: Path) -> SourceLines | None:
    try:
        return SourceLines(path)
    except Exception:       # whatever is the matter with its debug information: the refusal is what counts
        return None


class LogFile:
    """Where what is said of refusals is kept, all of it: a file, emptied first if it is to be `fresh`."""

    def __init__(self, path: Path, fresh: bool = True):
        self.path = path
        try:
            self._file = open(path, "wb" if fresh else "ab", buffering=0)
        except OSError as error:
            raise self._failed(error) from None

    def add(self, text: bytes) -> None:
        try:
            while text:
                text = text[self._file.write(text):]
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> UserError:
        return UserError(f"--verifier-log {self.path}: {error.strerror}; wanted a file to write")

    def close(self) -> None:
        self._file.close()
