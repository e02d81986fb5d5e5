"""What was played, and what came of it, as text."""

from __future__ import annotations

from .campaign import Result
from .lockstep import QEMU
from .qemu.known import KNOWN
from .strategy import Strategy


def table(name: str, seed: int, strategy: Strategy, results: list[tuple[dict[str, str], Result]]) -> str:
    lines = [f"{name}, seed {seed}"]
    for setting, result in results:
        how = ", ".join(setting.values())
        lines.append(f"  {how + ': ' if how else ''}{result.steps:,} steps in {result.sequences:,} sequences, "
                     f"{result.steps / max(result.seconds, 1e-9):,.0f} a second; "
                     f"{'a difference' if result.difference else 'no difference'}")
        for mode, count in result.handled.items():
            if mode == QEMU:
                lines += _met(count, result.declined[mode])
                continue
            declined = ", ".join(f"{reason.lower()} {number:,}" for reason, number in
                                 sorted(result.declined.get(mode, {}).items(), key=lambda pair: -pair[1]))
            lines.append(f"    {mode}: the kernel half did {count:,}, and declined for {declined or 'nothing'}")
    free = strategy.free | (strategy.choices if any(QEMU in result.handled for _, result in results) else {})
    lines += [f"  not compared: {what}, {why}" for what, why in free.items()]
    return "\n".join(lines) + "\n"


def _met(used: int, met: dict[str, int]) -> list[str]:
    """Known differences from QEMU, the most frequent first."""
    return [f"    qemu used {used:,} buffers; known differences:" if met else f"    qemu used {used:,} buffers",
            *(f"      {each.name}, {met[each.name]:,} times ({each.section}; {each.right})"
              for each in sorted({each.name: each for each in KNOWN}.values(), key=lambda each: -met.get(each.name, 0))
              if each.name in met)]
