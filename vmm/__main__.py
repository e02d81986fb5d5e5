"""`python -m vmm` is `splitvmm`."""

import sys

from .cli import main

sys.exit(main())
