"""What was played, and what came of it, as text."""

from __future__ import annotations

from .campaign import Result
from .strategy import Strategy


def table(name: str, seed: int, strategy: Strategy, results: list[tuple[dict[str, str], Result]]) -> str:
    lines = [f"{name}, seed {seed}"]
    for setting, result in results:
        how = ", ".join(setting.values())
        lines.append(f"  {how + ': ' if how else ''}{result.steps:,} steps in {result.sequences:,} sequences, "
                     f"{result.steps / max(result.seconds, 1e-9):,.0f} a second; "
                     f"{'a difference' if result.difference else 'no difference'}")
        for mode, count in result.handled.items():
            declined = ", ".join(f"{reason.lower()} {number:,}" for reason, number in
                                 sorted(result.declined.get(mode, {}).items(), key=lambda pair: -pair[1]))
            lines.append(f"    {mode}: the kernel half did {count:,}, and declined for {declined or 'nothing'}")
    lines += [f"  not compared: {what}, {why}" for what, why in strategy.free.items()]
    return "\n".join(lines) + "\n"
