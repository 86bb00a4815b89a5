"""`python -m wm_data`: the same as the command `wm-data`."""

import sys

from wm_data.cli import main

sys.exit(main())
