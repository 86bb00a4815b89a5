"""`python -m wm_eval`, which is what launchers start."""

from wm_eval.cli import main

if __name__ == "__main__":
    main()
