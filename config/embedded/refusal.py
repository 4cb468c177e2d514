"""Why a start is refused, in one sentence."""


class StartRefused(Exception):
    """The platform cannot start here; the message is the whole sentence people read."""
