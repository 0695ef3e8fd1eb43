"""Labelled images in folders: one for each class."""

import os
from collections.abc import Iterable
from numbers import Integral

from sklearn.utils import Bunch

from skcnn.datasets._folder_walk import FolderWalk
from skcnn.datasets._labelled_files import (
    check_argument,
    check_flag,
    check_none_empty,
    check_option,
    listed,
    listed_reasons,
    load_labelled,
)
from skcnn.exceptions import ImageFileError

_SUBSETS = ("train", "test", "val")
# What others call them, in small letters.
_SUBSET_NAMES = {*_SUBSETS, "training", "testing", "valid", "validation"}


def load_image_folder(
    root,
    *,
    subset=None,
    classes=None,
    max_per_class=None,
    on_error="raise",
    check=True,
    follow_links=False,
    verbose=False,
    **image_options,
):
    """Load the images of a folder that has one folder for each class.

    An image is what is named like one (.jpg, .jpeg, .png, .gif, .bmp, .tif, .tiff, .webp, .ppm and
    the like) and lies in the folder of a class, or in a folder within it. Whatever else is found is
    listed in the report. Classes and files are sorted by name.

    Parameters
    ----------
    root : str or path-like
        The folder. It holds the folders of the classes; or folders ``train``, ``test`` and ``val``,
        or some of these, each with folders of the classes.
    subset : {"train", "test", "val"}, default=None
        Which of these to load. None: `root` holds the classes.
    classes : sequence of str, default=None
        Names of the classes to load. None: all.
    max_per_class : int, default=None
        Images to load of each class at most: the first by name. None: all.
    on_error : {"raise", "skip"}, default="raise"
        What to do with images, and folders, that cannot be read: raise an error, or leave them out
        and list them in the report.
    check : bool, default=True
        Decode every image now, which serves all fits to come, and look for equal files in several
        classes or subsets. False: damaged files are found by a fit, before it trains.
    follow_links : bool, default=False
        Follow symbolic links that lead out of `root`. Nothing is ever read twice by way of a link.
    verbose : bool, default=False
        Show the progress of decoding.
    **image_options
        `image_size`, `mode`, `resize`, `crop_pct` and `max_pixels` of :class:`skcnn.ImageFiles`.

    Returns
    -------
    images : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : ImageFiles of shape (n_samples, H, W) or (n_samples, H, W, C)
            The images.
        target : ndarray of shape (n_samples,), dtype=int64
            The classes, as indices of `target_names`.
        target_names : ndarray of shape (n_classes,), dtype=str
            The names of the classes; those of all subsets, where there are some.
        filenames : ndarray of shape (n_samples,), dtype=object
            The paths of the files.
        report : :class:`~sklearn.utils.Bunch`
            ``counts``: class → number of its images. ``skipped``: path → why it could not be read.
            ``ignored``: path → why it is not taken for an image. ``duplicates``: lists of the paths
            of equal files in several classes or subsets.

    Raises
    ------
    ValueError
        If a parameter is not allowed; if there are fewer than two classes, or one without images;
        or if images differ in size, and `image_size` is not given.
    ImageFileError
        If ``on_error="raise"`` and something cannot be read.

    Warns
    -----
    DuplicateFilesWarning
        If equal files are in several classes, or in several subsets.
    AnimatedImageWarning
        If a file has several frames: the first is taken.

    See Also
    --------
    load_image_table : Paths and labels in a table.
    skcnn.ImageFiles : Files without labels, and how their pixels are read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from skcnn.datasets import load_image_folder
    >>> with tempfile.TemporaryDirectory() as root:
    ...     for name, value in [("cat/1", 10), ("cat/2", 20), ("dog/1", 30)]:
    ...         path = Path(root, f"{name}.png")
    ...         path.parent.mkdir(exist_ok=True)
    ...         Image.new("L", (8, 8), value).save(path)
    ...     pets = load_image_folder(root)
    >>> pets.data.shape
    (3, 8, 8)
    >>> print(pets.target_names[pets.target])
    ['cat' 'cat' 'dog']
    """
    loader = "load_image_folder"
    is_folder = isinstance(root, str | os.PathLike) and os.path.isdir(root)
    check_argument(is_folder, loader, "root", "a folder", root)
    check_option(loader, "subset", (None, *_SUBSETS), subset)
    check_option(loader, "on_error", ("raise", "skip"), on_error)
    for name, flag in (("check", check), ("follow_links", follow_links), ("verbose", verbose)):
        check_flag(loader, name, flag)
    if isinstance(classes, Iterable) and not isinstance(classes, str):
        classes = list(classes)
    is_names = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    check_argument(
        classes is None or is_names, loader, "classes", "None or a sequence of names", classes
    )
    is_number = (
        isinstance(max_per_class, Integral)
        and not isinstance(max_per_class, bool)
        and max_per_class > 0
    )
    allowed = "None or a positive integer"
    check_argument(
        max_per_class is None or is_number, loader, "max_per_class", allowed, max_per_class
    )

    root = os.path.abspath(root)
    walk = FolderWalk(root, follow_links)
    folders = _class_folders(walk, root, subset, classes)
    images = walk.images_in(folders)
    report = Bunch(skipped=walk.unreadable, ignored=walk.ignored)
    here = {label: found for (part, label), found in images.items() if part == subset}
    if walk.unreadable and on_error == "raise" and not all(here.values()):
        raise ImageFileError(walk.unreadable)  # which may be why a class has no images
    check_none_empty({label: len(found) for label, found in here.items()}, report)
    here = {label: found[:max_per_class] for label, found in here.items()}
    return load_labelled(
        [path for found in here.values() for path in found],
        [label for label, found in here.items() for _ in found],
        sorted({label for _, label in folders}),
        elsewhere=[(path, key) for key in images if key[0] != subset for path in images[key]],
        skip=on_error == "skip",
        check=check,
        verbose=verbose,
        image_options=image_options,
        report=report,
    )


def _class_folders(walk, root, subset, classes):
    """(subset, class) → folder, of the classes to load; of the other subsets too, to compare."""
    folders = walk.folders_in(root)
    if subset is None:
        if classes is None:
            _check_no_subsets(walk, root, folders)
        parts = {None: folders}
    else:
        parts = {part: folders.pop(part) for part in _SUBSETS if part in folders}
        if subset not in parts:
            raise ValueError(
                f"The 'subset' parameter of load_image_folder must name a folder of root; got "
                f"{subset!r}, where {root!r} holds {listed([*parts, *folders])}, and other "
                f"things: {listed_reasons(walk.ignored)}. Call folders of subsets train, test and "
                "val; or leave out subset= if these are classes."
            )
        walk.ignored.update(dict.fromkeys(folders.values(), "none of train, test and val"))
        parts = {part: walk.folders_in(folder) for part, folder in parts.items()}

    found = sorted(set().union(*parts.values()))
    if len(found) < 2:
        raise ValueError(
            "The 'root' parameter of load_image_folder must hold a folder for each of at least two "
            f"classes; got {root!r}, which holds {listed(found)}, and "
            f"other things: {listed_reasons(walk.ignored)}."
        )
    chosen = found if classes is None else sorted(set(classes))
    if len(chosen) < 2 or not set(chosen) <= set(found):
        raise ValueError(
            "The 'classes' parameter of load_image_folder must name at least two of the folders of "
            f"classes, {listed(found)}; got {classes!r} instead."
        )
    if parts[subset].keys().isdisjoint(chosen):
        folder = os.path.join(root, subset)
        inside = os.path.join(folder, "")
        beside = {path: why for path, why in walk.ignored.items() if path.startswith(inside)}
        raise ValueError(
            "The 'subset' parameter of load_image_folder must name a folder that holds folders of "
            f"the classes, {listed(chosen)}; got {subset!r}, where {folder!r} holds "
            f"{listed(list(parts[subset]))}, and other things: {listed_reasons(beside)}. Sort its "
            "images into folders of their classes; with labels in a table, they are loaded by "
            "load_image_table, and without labels, by skcnn.ImageFiles."
        )
    return {
        (part, label): folder
        for part, of_class in parts.items()
        for label, folder in of_class.items()
        if label in chosen
    }


def _check_no_subsets(walk, root, folders):
    """Refuse folders of subsets, which would be taken for classes."""
    named = [name for name in folders if name.lower() in _SUBSET_NAMES]
    if len(named) > 1 or any(walk.holds_folders(folders[name]) for name in named):
        known = [name for name in _SUBSETS if name in named]
        hints = [f"Give subset={known[0]!r}"] if known else []
        hints += ["Call them train, test and val"] if len(known) < len(named) else []
        raise ValueError(
            "The 'subset' parameter of load_image_folder must be 'train', 'test' or 'val' where "
            f"root holds folders of subsets; got None for {root!r}, which holds {listed(named)} "
            f"among {listed(list(folders))}. {'. '.join(hints)}; or give classes= if these are "
            "classes."
        )
