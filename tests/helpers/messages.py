"""Patterns of what an error must say, whatever its prose: the parameter, and what was given."""

import re


def names(parameter, value):
    """Pattern of a message that names a parameter and the value that it got, not a part of one."""
    return rf"(?s)'{parameter}'.*[Gg]ot .*(?<![\w\[(]){re.escape(repr(value))}(?!\w)"


def mentions(*words):
    """Pattern of a message that has all of these, in any order: names, values, paths, numbers."""
    return r"(?s)\A" + "".join(rf"(?=.*(?<!\w){re.escape(str(word))}(?!\w))" for word in words)
