"""``python -m prewarm``: the command line, where the ``prewarm`` script is not on the PATH."""

import sys

from prewarm.cli import main

sys.exit(main())
