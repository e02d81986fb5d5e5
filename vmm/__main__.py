"""`python -m vmm` is `splitvmm`."""

import sys

from .cli.main import main

sys.exit(main())
