"""The one kind of error that is the caller's to mend: bad input, with the remedy in its text."""


class InputError(Exception):
    """Bad input: one line that says what is wrong and what to do. Commands end with status 2.

    Not a ValueError: the command line's parser catches those and wraps them in a box of its own.
    """
