"""C of the benchmarks: vmm/native/load.c."""

from ..errors import UserError


def binding():
    """cffi's ffi and the library.  Raises UserError."""
    try:
        from . import _load
    except ImportError as error:
        raise UserError(f"vmm/bench/_load: {error}; wanted `make setup` to have built it") from None
    return _load.ffi, _load.lib
