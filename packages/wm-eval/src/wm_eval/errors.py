"""The one exception that wm-eval raises for what a user can cause."""


class WmEvalError(Exception):
    """A model, adapter, dataset or option that cannot be evaluated; the message says what to do."""
