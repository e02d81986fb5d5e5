"""What a user did wrong, or their machine lacks: printed as one line, with no traceback."""


class UserError(Exception):
    """Says where, what was found and what was wanted or can be done."""
