"""The one kind of error that is the caller's to mend: bad input, with the remedy in its text."""


class InputError(ValueError):
    """Bad input: one line that says what is wrong and what to do. Commands end with status 2."""
