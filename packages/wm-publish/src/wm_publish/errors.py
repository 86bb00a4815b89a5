"""The one exception a user of this package can cause. Raises nothing itself."""


class PublishError(Exception):
    """A run that cannot be published as it stands; the message says why and what to do."""
