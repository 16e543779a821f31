"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Bad input, told in one sentence that names the file or setting and the remedy; entries exit with code 2 on it."""
