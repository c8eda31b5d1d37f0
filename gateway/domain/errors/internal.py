"""What no client meets: the gateway itself acts on it."""


class ConfigurationError(Exception):
    """Settings are missing or wrong, so the gateway does not start. Each argument begins with the path of a key."""

    def __str__(self) -> str:
        return "\n".join(self.args)


class UnreadableReply(Exception):
    """A provider's reply cannot be understood. It proves nothing about the task that it is about."""
