"""The one exception that wm-eval raises for what a user can cause."""


class WmEvalError(Exception):
    """A model, adapter, dataset or option that cannot be evaluated; the message says what to do."""


def short(error: BaseException) -> str:
    """The first lines that say something: torch and the hub write whole pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] or type(error).__name__
