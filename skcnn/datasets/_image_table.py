"""Labelled images that a table lists."""

import csv
import os

from sklearn.utils import Bunch

from skcnn.datasets._labelled_files import (
    check_argument,
    check_flag,
    check_option,
    listed,
    load_labelled,
)

_COUNTED = "counted from 0 after the names of the columns"


def load_image_table(
    frame,
    path_column,
    target_column,
    *,
    root=None,
    on_error="raise",
    check=True,
    verbose=False,
    **image_options,
):
    """Load the images that a table lists, with their labels.

    Parameters
    ----------
    frame : DataFrame, or str or path-like
        The table, or a CSV file of it, in UTF-8, whose first line names the columns. All labels of
        a CSV file are strings.
    path_column : str
        The column of the paths.
    target_column : str
        The column of the labels.
    root : str or path-like, default=None
        The folder that relative paths start from. None: that of the CSV file, or the current one.
    on_error : {"raise", "skip"}, default="raise"
        What to do with images that cannot be read: raise an error, or leave them out and list them
        in the report.
    check : bool, default=True
        Decode every image now, which serves all fits to come, and look for equal files of several
        labels. False: damaged files are found by a fit, before it trains.
    verbose : bool, default=False
        Show the progress of decoding.
    **image_options
        `image_size`, `mode`, `resize`, `crop_pct` and `max_pixels` of :class:`skcnn.ImageFiles`.

    Returns
    -------
    images : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : ImageFiles of shape (n_samples, H, W) or (n_samples, H, W, C)
            The images, in the order of the table.
        target : ndarray of shape (n_samples,), dtype=int64
            The classes, as indices of `target_names`.
        target_names : ndarray of shape (n_classes,)
            The labels, sorted.
        filenames : ndarray of shape (n_samples,), dtype=object
            The paths of the files.
        report : :class:`~sklearn.utils.Bunch`
            ``counts``: label → number of its images. ``skipped``: path → why it could not be read.
            ``ignored``: empty. ``duplicates``: lists of the paths of equal files of several labels.

    Raises
    ------
    ValueError
        If a parameter is not allowed; if a path or label is missing; if there are fewer than two
        classes, or one without images that can be read; or if images differ in size, and
        `image_size` is not given.
    ImageFileError
        If ``on_error="raise"`` and a file cannot be read.

    Warns
    -----
    DuplicateFilesWarning
        If equal files have several labels.
    AnimatedImageWarning
        If a file has several frames: the first is taken.

    See Also
    --------
    load_image_folder : A folder of each class.
    skcnn.ImageFiles : Files without labels, and how their pixels are read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from PIL import Image
    >>> from skcnn.datasets import load_image_table
    >>> with tempfile.TemporaryDirectory() as root:
    ...     for name, colour in [("1.png", "red"), ("2.png", "blue"), ("3.png", "tan")]:
    ...         Image.new("RGB", (8, 8), colour).save(Path(root, name))
    ...     table = {"file": ["1.png", "2.png", "3.png"], "animal": ["cat", "dog", "cat"]}
    ...     pets = load_image_table(pd.DataFrame(table), "file", "animal", root=root)
    >>> pets.data.shape
    (3, 8, 8, 3)
    >>> print(pets.target_names[pets.target])
    ['cat' 'dog' 'cat']
    """
    loader = "load_image_table"
    check_option(loader, "on_error", ("raise", "skip"), on_error)
    check_flag(loader, "check", check)
    check_flag(loader, "verbose", verbose)
    is_root = root is None or isinstance(root, str | os.PathLike)
    check_argument(is_root, loader, "root", "None or the path of a folder", root)
    is_path = isinstance(frame, str | os.PathLike)
    check_argument(
        is_path or hasattr(frame, "columns"), loader, "frame", "a DataFrame or a path", frame
    )
    if root is None:
        root = os.path.dirname(frame) if is_path else ""
    columns = {"path_column": path_column, "target_column": target_column}
    names, labels = (_read_csv if is_path else _read_frame)(frame, columns)
    for i, name in enumerate(names):
        if not isinstance(name, str | bytes | os.PathLike):
            raise ValueError(
                "The 'path_column' parameter of load_image_table must be the name of a column of "
                f"paths; got {path_column!r}, which holds {name!r:.60} in row {i}."
            )
    try:
        target_names = sorted(set(labels))
    except TypeError as error:
        raise ValueError(
            "The 'target_column' parameter of load_image_table must name a column of labels of one "
            f"type; got {target_column!r}: {error}."
        ) from error
    if len(target_names) < 2:
        raise ValueError(
            "The 'target_column' parameter of load_image_table must name a column with at least "
            f"two labels; got {target_column!r}, which has {listed(target_names)}."
        )
    paths = [os.path.abspath(os.path.join(root, os.fsdecode(name))) for name in names]
    return load_labelled(
        paths,
        labels,
        target_names,
        elsewhere=[],
        skip=on_error == "skip",
        check=check,
        verbose=verbose,
        image_options=image_options,
        report=Bunch(skipped={}, ignored={}),
    )


def _read_csv(path, columns):
    # Bytes that are no UTF-8 are kept, as in the names of files.
    with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.DictReader(file)
        found = list(reader.fieldnames or ())
        _check_columns(columns, found)
        rows = list(reader)
    for i, row in enumerate(rows):
        if None in row:  # where what is beyond the columns goes
            raise ValueError(
                f"The table must have a field for each of its {len(found)} columns in each row; "
                f"got {len(found) + len(row[None])} fields in row {i}, {_COUNTED}. Put fields "
                "with commas into quotes."
            )
    return _check_cells({name: [row[name] for row in rows] for name in columns.values()})


def _read_frame(frame, columns):
    _check_columns(columns, list(frame.columns))
    return _check_cells({name: frame[name].tolist() for name in columns.values()})


def _check_columns(columns, found):
    for parameter, name in columns.items():
        allowed = f"one of the columns, {listed(found)}"
        check_argument(name in found, "load_image_table", parameter, allowed, name)
        allowed = f"the name of one column alone, of {listed(found)}"
        check_argument(found.count(name) == 1, "load_image_table", parameter, allowed, name)
    paths, labels = columns.values()
    allowed = "another column than that of the paths"
    check_argument(paths != labels, "load_image_table", "target_column", allowed, labels)


def _check_cells(cells):
    """Paths and labels, none of them missing."""
    for column, values in cells.items():
        for i, value in enumerate(values):
            if _is_missing(value):
                raise ValueError(
                    f"The table must have a path and a label in each row; got {value!r} in column "
                    f"{column!r} of row {i}, {_COUNTED}. Fill it in, or leave out the row."
                )
    return cells.values()


def _is_missing(value):
    try:
        return value is None or value == "" or bool(value != value)  # NaN
    except TypeError:  # pandas' NA, which is neither equal nor not
        return True
    except ValueError:  # an array
        return False
