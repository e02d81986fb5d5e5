"""SHA-256, by CPython's own code where that is: hashlib loads OpenSSL, 2 ms and 3 MiB of every VM."""

from __future__ import annotations

try:
    from _sha2 import sha256  # CPython 3.12 and later
except ImportError:
    try:
        from _sha256 import sha256  # CPython 3.11
    except ImportError:
        from hashlib import sha256

__all__ = ["sha256"]
