"""Strategies of the devices that come with splitvmm, by the device's name."""

from ..strategy import Strategy


def ours() -> dict[str, type[Strategy]]:
    from .blk import BlkStrategy
    from .rng import RngStrategy
    return {"blk": BlkStrategy, "rng": RngStrategy}
