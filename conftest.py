"""For every package's tests: workers that run side by side must not fight for the same cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch

collect_ignore_glob = ["packages/*/scripts/*"]  # run by hand, and they import each other
