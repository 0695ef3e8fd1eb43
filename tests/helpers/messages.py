"""Patterns of what an error must say, whatever its prose: the parameter, and what was given."""

import re


def names(parameter, value):
    """Pattern of a message that names a parameter and the value that it got."""
    return rf"(?s)'{parameter}'.*[Gg]ot .*{re.escape(repr(value))}"
