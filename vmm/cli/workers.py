"""Campaigns of `splitvmm verify` in several processes, of this machine or of a Dask cluster: seeds go out, what was
played and found comes back."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

from ..errors import UserError
from ..verify.campaign import Campaign, Result
from ..verify.strategy import Strategy

SEEDS = 1 << 32     # between those of two workers


@dataclass(frozen=True)
class Share:
    """One worker's part: `spec` is the device as the command line has it."""

    spec: str
    executors: list[str]
    setting: dict[str, Any]
    seed: int
    seconds: float | None
    steps: int | None


def play(name: str, strategy: Strategy, share: Share) -> Result:
    return Campaign(strategy, name, share.executors, share.setting).run(share.seed, share.seconds, share.steps)


def played(share: Share) -> Result:
    """In whatever process this is, which finds the device's strategy by itself.  Raises UserError."""
    from .verify import strategy_of
    return play(*strategy_of(share.spec), share)


def shares(workers: int, share: Share) -> list[Share]:
    """The same for each, but for the seeds."""
    steps = share.steps and -(-share.steps // workers)
    return [Share(share.spec, share.executors, share.setting, share.seed + i * SEEDS, share.seconds, steps)
            for i in range(workers)]


@contextmanager
def processes(workers: int) -> Iterator[Any]:
    """What `map`s shares to results in so many processes, which end with the block."""
    # fork would copy locks that threads of ours hold; a Ctrl-C is for whoever started them
    with get_context("spawn").Pool(workers, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        yield pool


class Cluster:
    """The same on a Dask scheduler's workers, which have splitvmm installed, and the device's file at its place."""

    def __init__(self, address: str):
        try:
            from distributed import Client
        except ImportError:
            raise UserError("--dask: no package distributed; wanted it: pip install 'splitvmm[dask]'") from None
        try:
            self._client = Client(address, timeout=10)
        except (OSError, ValueError, TimeoutError) as error:
            raise UserError(
                f"--dask {address}: {error}; wanted a Dask scheduler's address, as tcp://host:8786") from None
        self.workers = len(self._client.scheduler_info()["workers"])
        if not self.workers:
            raise UserError(f"--dask {address}: a scheduler without workers; wanted some")

    def __enter__(self) -> Cluster:
        return self

    def map(self, call: Any, given: list[Share]) -> list[Result]:
        return self._client.gather(self._client.map(call, given, pure=False))

    def __exit__(self, *_: object) -> None:
        self._client.close()


@contextmanager
def player(name: str, strategy: Strategy, count: int, dask: str | None) -> Iterator[Callable[[Share], Result]]:
    """What plays one share after the other: this process alone, `count` of them, or those of a cluster.  Raises
    UserError."""
    if count == 1 and not dask:
        yield partial(play, name, strategy)
        return
    with Cluster(dask) if dask else processes(count) as where:
        number = where.workers if dask else count
        yield lambda share: _together(where.map(played, shares(number, share)))


def _together(results: list[Result]) -> Result:
    total = Result()
    for result in results:
        total.add(result)
    return total
