"""What a user of wm-train can get wrong. Every one ends as one line and its exit code."""


class WmTrainError(Exception):
    """Base of this package's errors; the text says what came, what was expected, what to do."""

    exit_code = 2


class ConfigError(WmTrainError):
    """A preset or an option that cannot be used."""


class DataError(WmTrainError):
    """A dataset that cannot be trained on."""


class CheckpointError(WmTrainError):
    """A checkpoint that cannot be saved, or none that a run can go on from."""


class ResumeError(WmTrainError):
    """A run that cannot be gone on with as asked."""
