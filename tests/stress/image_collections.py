"""Collections of images at their limits: sizes, number of classes, number of files.

1. Images of 1 × 1 to 20,000 × 20,000 pixels, as JPEG and as PNG, with `max_pixels` raised.
2. Tiny files, in one folder for each of many classes, or of two: a tenth of them, then all.

Each is done in a process of its own, whose time and peak memory are printed beside those of a
process that only imports skcnn. Not a test: it takes minutes, 5 GB of disk and 2.2 GB of memory.

    python tests/stress/image_collections.py [--files 100000] [--classes 10000] [--folder ...]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LARGEST = 20_000  # pixels, of a side
SHAPES = ((1, 1), (1, LARGEST), (LARGEST, 1), (3000, 4000), (LARGEST, LARGEST))


# What processes do --------------------------------------------------------------------------------


def nothing():
    """Import what the others import, and that is all."""
    from skcnn import ImageFiles

    return {"class": ImageFiles.__name__}


def make_image(path, height, width):
    """Write a coloured image, which compresses well."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    ramp = Image.linear_gradient("L")
    channels = (ramp, ramp.rotate(90), ramp.rotate(180))
    Image.merge("RGB", [channel.resize((width, height)) for channel in channels]).save(
        path, **({"compress_level": 1} if path.endswith(".png") else {})
    )
    return {"MB on disk": round(Path(path).stat().st_size / 1e6, 1)}


def read_images(folder, n_copies):
    """Read one image, or several copies of it by as many threads as there are."""
    from skcnn import ImageFiles

    paths = sorted(Path(folder).iterdir()) * n_copies
    images = ImageFiles(paths, image_size=224, max_pixels=LARGEST**2).decode()
    return {"mean pixel": round(float(images[-1].mean()), 1)}


def make_folder(root, n_files, n_classes):
    """Write tiny grey files, no two alike, evenly into folders."""
    import io

    from PIL import Image

    for i in range(n_files):
        folder = Path(root, f"class-{i % n_classes:05}")
        if i < n_classes:
            folder.mkdir()
        file = io.BytesIO()
        Image.frombytes("L", (8, 8), i.to_bytes(4, "big") * 16).save(file, "PNG")
        (folder / f"{i:06}.png").write_bytes(file.getvalue())
    return {}


def load_folder(root, check):
    """Load such a folder; decode it, and look for equal files, with `check`."""
    from skcnn.datasets import load_image_folder

    images = load_image_folder(root, check=check)
    return {"images": len(images.data), "classes": len(images.target_names)}


# In processes of their own ------------------------------------------------------------------------


def run(what, *args):
    """Run a function in a new process; return its seconds, its peak in MB, and what it returned."""
    command = [sys.executable, __file__, "--run", json.dumps([what, *map(_plain, args)])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def run_here(what, *args):
    start = time.perf_counter()
    result = globals()[what](*args)
    seconds = time.perf_counter() - start
    status = Path("/proc/self/status").read_text()  # Linux; getrusage starts at a parent's peak
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps([seconds, int(peak) / 1e3, result]))


def _plain(value):
    return str(value) if isinstance(value, Path) else value


def report(what, seconds, peak, result):
    details = ", ".join(f"{name} {value}" for name, value in result.items())
    print(f"{what:52} {seconds:8.2f} s {peak:7.0f} MB   {details}", flush=True)


def sizes(folder):
    for suffix in ("jpg", "png"):
        for height, width in SHAPES:
            place = folder / f"{height}-{width}-{suffix}"
            place.mkdir()
            _, _, made = run("make_image", place / f"x.{suffix}", height, width)
            name = f"{suffix}, {height} × {width}"
            for n_copies in (1,) if min(height, width) == 1 else (1, 4):
                seconds, peak, result = run("read_images", place, n_copies)
                report(f"{name}, {n_copies} of it", seconds, peak, {**made, **result})


def numbers(folder, n_files, n_classes):
    for n, k in ((n_files // 10, n_classes // 10), (n_files, n_classes), (n_files, 2)):
        root = folder / f"{n}-{k}"
        root.mkdir()
        report(f"{n} files in {k} classes, written", *run("make_folder", root, n, k))
        for check in (False, True):
            name = f"{n} files in {k} classes, {'decoded' if check else 'listed'}"
            report(name, *run("load_folder", root, check))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=10_000)
    parser.add_argument("--folder", help="where to write the images; default: a temporary folder")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        return run_here(*json.loads(options.run))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        report("nothing but the imports", *run("nothing"))
        sizes(Path(folder))
        numbers(Path(folder), options.files, options.classes)


if __name__ == "__main__":
    main()
