"""The one exception that users are meant to see."""


class AwmError(Exception):
    """A mistake that the user can mend.

    The message is one sentence that says what is wrong and one that names the remedy.
    The command line prints it without a traceback and exits with status 2.
    """
