"""Labelled image files, wherever they were found: opened, counted, compared."""

import hashlib
import itertools
import os
from collections import defaultdict

import numpy as np
from sklearn.utils import Bunch

from skcnn.exceptions import DuplicateFilesWarning, ImageFileError, warn_caller

_NAMED = 5  # things that a message names
_CHUNK_BYTES = 1 << 20


def load_labelled(
    paths, labels, target_names, *, elsewhere, skip, check, verbose, image_options, report
):
    """Bunch of the images that can be read. `elsewhere`: (path, where) of others, to compare."""
    data = _open(paths, skip, check, verbose, image_options, report.skipped)
    kept = [path not in report.skipped for path in paths]
    index = {name: i for i, name in enumerate(target_names)}
    target = np.array([index[label] for label in itertools.compress(labels, kept)], dtype=np.int64)
    counts = np.bincount(target, minlength=len(target_names)).tolist()
    report.counts = dict(zip(target_names, counts, strict=True))
    check_none_empty({label: report.counts[label] for label in dict.fromkeys(labels)}, report)
    report.duplicates = []
    if check:
        here = list(zip(itertools.compress(paths, kept), target.tolist(), strict=True))
        report.duplicates = _find_duplicates(here, elsewhere)
        _warn_of(report.duplicates)
    return Bunch(
        data=data,
        target=target,
        target_names=np.array(target_names),
        filenames=np.array(data.paths, dtype=object),
        report=report,
    )


def _open(paths, skip, check, verbose, image_options, reasons):
    """Images of the files that can be read; `reasons` takes in why the others cannot.

    Unless they are skipped, they are an error that names all: with `check`, the damaged ones too.
    """
    from skcnn.images import ImageFiles  # and torch with it, which other data sets do without

    try:
        data = ImageFiles(paths, **image_options)
    except ImageFileError as error:
        reasons |= error.reasons
        rest = [path for path in paths if path not in reasons]
        if not rest or not (skip or check):
            raise ImageFileError(reasons) from error
        try:
            data = ImageFiles(rest, **image_options)
        except ValueError as sizes_differ:
            if skip:
                raise
            raise ImageFileError(reasons) from sizes_differ
    if check:
        try:
            data.decode(verbose=verbose)
        except ImageFileError as error:
            reasons |= error.reasons
            data = data[[path not in reasons for path in data.paths]]
    if reasons and not skip:
        raise ImageFileError(reasons)
    return data


def check_none_empty(counts, report):
    """Refuse classes without images, and say what was found instead."""
    empty = [label for label, count in counts.items() if not count]
    if empty:
        others = {**report.skipped, **report.ignored}
        raise ValueError(
            f"Every class must have images; got none of {listed(empty)}, and "
            f"{sum(counts.values())} of the other {len(counts) - len(empty)} classes. "
            f"Other things that were found: {listed_reasons(others)}. Leave out these "
            "classes, by classes= for a folder."
        )


# Equal files -----------------------------------------------------------------------------------


def _find_duplicates(here, elsewhere):
    """Find equal files in several places, one of which is `here`: a list of paths for each."""
    loaded = {path for path, _ in here}
    groups = [here + elsewhere]
    for key in (_size, _digest):
        parts = defaultdict(list)
        for i, group in enumerate(groups):
            for path, place in group:
                parts[i, key(path)].append((path, place))
        groups = [part for part in parts.values() if len({place for _, place in part}) > 1]
    paths = [[path for path, _ in group] for group in groups]
    return [group for group in paths if not loaded.isdisjoint(group)]


def _size(path):
    return os.path.getsize(path) if os.path.isfile(path) else path


def _digest(path):
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError:  # another subset's, which is not loaded here
        return path
    return digest.digest()


def _warn_of(duplicates):
    if duplicates:
        groups = [" = ".join(map(repr, group)) for group in duplicates]
        warn_caller(
            f"{len(groups)} file{'s are' if len(groups) > 1 else ' is'} in several classes, or in "
            "several subsets: "
            f"{_first(groups, '; ')}. A network cannot tell them apart, and a score on them is "
            "too good. All are in the 'duplicates' of the report: keep one of each.",
            DuplicateFilesWarning,
        )


# Words -----------------------------------------------------------------------------------------


def check_argument(is_allowed, loader, parameter, allowed, got):
    """Refuse a value of a parameter that is not what is allowed, in words."""
    if not is_allowed:
        raise ValueError(
            f"The {parameter!r} parameter of {loader} must be {allowed}; got {got!r:.200} instead."
        )


def check_flag(loader, parameter, got):
    """Refuse a value of a parameter that is neither True nor False."""
    check_argument(isinstance(got, bool | np.bool_), loader, parameter, "True or False", got)


def check_option(loader, parameter, options, got):
    """Refuse a value of a parameter that is none of `options`."""
    allowed = ", ".join(map(repr, options[:-1])) + f" or {options[-1]!r}"
    check_argument(got in options, loader, parameter, allowed, got)


def listed(names):
    """Say how many names there are, and the first of them."""
    if not names:
        return "none"
    return f"{len(names)} ({_first([repr(name) for name in names], ', ')})"


def listed_reasons(reasons):
    """Say how many paths there are, and of the first of them what is the matter."""
    lines = [f"{path!r}: {reason}" for path, reason in reasons.items()]
    return f"{len(lines)} ({_first(lines, '; ')})" if lines else "none"


def _first(words, separator):
    more = [f"and {len(words) - _NAMED} more"] if len(words) > _NAMED else []
    return separator.join([*words[:_NAMED], *more])
