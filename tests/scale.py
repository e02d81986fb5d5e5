"""How often the long tests do what they do: less on a slow machine (SPLITVMM_TEST_SCALE)."""

import os

SCALE = float(os.environ.get("SPLITVMM_TEST_SCALE", "1"))


def scaled(count: int) -> int:
    """So many, or the part of it that is asked for; some are left."""
    return max(1, round(count * SCALE))
