"""What can be read in a figure."""

from itertools import combinations

from matplotlib.transforms import Affine2D, Bbox


def is_inside(figure):
    """Whether nothing drawn sticks out of the figure."""
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def are_legible(texts):
    """Whether no two of these texts, which are turned by one angle, are equal, empty or overlap."""
    words = [text.get_text() for text in texts]
    return all(words) and len(set(words)) == len(words) and are_apart(texts)


def are_apart(texts):
    """Whether no two of these texts, which are turned by one angle, overlap."""
    turn = Affine2D().rotate_deg(-texts[0].get_rotation())
    boxes = []
    for text in texts:
        middle = turn.transform(text.get_window_extent().get_points().mean(axis=0))
        angle = text.get_rotation()
        text.set_rotation(0)
        size = text.get_window_extent().size
        text.set_rotation(angle)
        boxes.append(Bbox([middle - size / 2, middle + size / 2]))
    return not any(a.overlaps(b) for a, b in combinations(boxes, 2))
