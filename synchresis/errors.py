"""The two ways in which a request can end badly, as the command line reports them."""


class BadInputError(ValueError):
    """What the person gave cannot be used: names the file or option, and says what to do. Exit code 2."""


class FailureError(RuntimeError):
    """The request was sound but could not be carried out (disk full, encoder refused). Exit code 1."""
