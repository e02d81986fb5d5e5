"""Strategies of the devices that come with splitvmm, by the device's name."""

from ..strategy import Strategy


def ours() -> dict[str, type[Strategy]]:
    from .blk import BlkStrategy
    from .console import ConsoleStrategy
    from .net import NetStrategy
    from .rng import RngStrategy
    return {"blk": BlkStrategy, "net": NetStrategy, "console": ConsoleStrategy, "rng": RngStrategy}
