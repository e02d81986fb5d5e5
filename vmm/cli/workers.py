"""Campaigns of `splitvmm verify` in several processes, of this machine or of a Dask cluster: seeds go out, what was
played and found comes back."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from ..errors import UserError
from ..verify.campaign import Campaign, Result

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


def played(share: Share) -> Result:
    """In whatever process this is.  Raises UserError."""
    from .verify import strategy_of
    name, strategy = strategy_of(share.spec)
    return Campaign(strategy, name, share.executors, share.setting).run(share.seed, share.seconds, share.steps)


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


def spread(share: Share, count: int, dask: str | None) -> Result:
    """What `count` processes, or those of a cluster, have found together.  Raises UserError."""
    if count == 1 and not dask:
        return played(share)
    total = Result()
    with Cluster(dask) if dask else processes(count) as where:
        for result in where.map(played, shares(where.workers if dask else count, share)):
            total.add(result)
    return total
