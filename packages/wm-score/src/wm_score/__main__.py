"""`python -m wm_score` is `wm-score`."""

import sys

from wm_score.cli import main

if __name__ == "__main__":
    sys.exit(main())
