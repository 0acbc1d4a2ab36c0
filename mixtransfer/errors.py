"""The one kind of error that a user can cause and mend."""


class UserError(Exception):
    """Bad input. Its message is one sentence that names the file or option and the mend.

    The command line prints the sentence and exits with code 2; ``--debug`` shows the traceback.
    """


class ValueRefused(UserError, ValueError):
    """A value that an object cannot be made with."""


class Interrupted(Exception):
    """The user stopped a long command; what it takes to resume has been written."""
