"""`python -m wm_train`, for launchers that want a module."""

from wm_train.cli import main

if __name__ == "__main__":
    main()
