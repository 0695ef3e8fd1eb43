"""Fuzz ``skcnn.load``: changed files may be refused by one error, or load, and nothing else.

    python tests/stress/fuzz_load.py [--runs 1000000] [--seed 0]

Starts from valid files. The checksum of every changed file is computed anew, since it would stop
them all, and changes follow the structure of the file, so that what is behind each check is
reached; atheris keeps the inputs that reach new branches, and goes on from these. Prints how many
were refused and loaded, and how much memory the process took.
"""

from __future__ import annotations

import argparse
import collections
import copy
import gc
import json
import os
import random
import resource
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

INSTRUMENTED = [
    f"skcnn.{name}"
    for name in ("_files", "_model_file", "_plain_json", "_saved_network", "_saving", "persistence")
]

# Values that parsers have stumbled over, for any place in JSON.
STRANGE = (
    None, True, False, 0, -1, 1, 2, 3, 255, 2**31, 2**63 - 1, 2**63, -(2**63), 2**64 - 1, 10**19,
    0.0, -0.0, 1.5, 1e308, 5e-324, "", "a", "relu", "batch", "cpu", "cuda:7", "meta", "\ud800",
    "é", "os.system", "builtins.eval", "__class__", "../../etc/passwd", [], {}, [[]], [0], [-1],
    [10**12], ["x"] * 5, {"a": 1}, {"$tuple": []}, {"$tuple": [1, 2]}, {"$tuple": [10**9, 10**9]},
    {"$float": "nan"}, {"$float": "inf"}, {"$class": "nn.Linear"}, {"$class": "os.system"},
    {"$class": "optim.Optimizer"},
    {"$partial": [{"$class": "nn.ReLU"}, {"$tuple": []}, {}]}, {"$dict": [[1, 2], [1, 3]]},
    {"$dict": [[[], 1]]}, {"$array": ["<i8", [2], [1, 2]]}, {"$array": ["|O", [1], ["x"]]},
    {"$array": ["<U999999999", [1], ["x"]]}, {"$array": ["<f8", [1 << 40], []]},
    {"$scalar": ["<f4", [], [0.5]]}, {"$dtype": "float16"}, {"$device": "cuda"}, {"$x": 0},
)  # fmt: skip


def sealed(content: bytes) -> bytes:
    """Whole file of this content, as if it had been saved so."""
    from skcnn._files import _checksum

    kind = b"skcnn model 1"
    return kind + b"\n" + _checksum(kind, [content]).encode() + b"\n" + content


def unsealed(file: bytes) -> bytes:
    """Content of a whole file."""
    return file.split(b"\n", 2)[2]


def packed(header: dict, description: str | None, data: bytes) -> bytes:
    """Content of a header, whose metadata hold `description`, and of the data of tensors."""
    if description is not None:
        header = {"__metadata__": {"skcnn": description}, **header}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def unpacked(content: bytes) -> tuple[dict, str, bytes]:
    """Undo `packed`.

    Raises
    ------
    ValueError
        If the content has no such parts, as after some changes.
    """
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
        description = header.pop("__metadata__")["skcnn"]
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if not isinstance(description, str):
        raise ValueError("no description")
    return header, description, content[8 + length :]


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Change the content of a file somewhere: as bytes, as text, or as the values that it says."""
    try:
        header, description, data = unpacked(content)
        how = rng.choice(("bytes", "header", "text", "tensors", "data", *["values"] * 6))
        if how == "header":
            text = mutated_bytes(json.dumps(header).encode(), rng)
            return len(text).to_bytes(8, "little") + text + data
        if how == "text":
            text = mutated_bytes(description.encode("utf-8", "replace"), rng)
            return packed(header, text.decode("utf-8", "replace"), data)
        if how == "data":
            return packed(header, description, mutated_bytes(data, rng))
        if how == "tensors":
            return packed(mutated_values(header, rng), description, data)
        if how == "values":
            values = json.loads(description)
            for _ in range(rng.choice((1, 1, 1, 2, 5))):
                values = mutated_values(values, rng)
            return packed(header, json.dumps(values), data)
    except (ValueError, RecursionError):
        pass
    return mutated_bytes(content, rng)


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flip, insert, remove, repeat or cut off bytes."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(data) + 1)
        to = min(len(data), at + rng.choice((1, 2, 8, 64)))
        how = rng.randrange(5)
        if how == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            data[at:at] = rng.choice(
                (b"[" * 3000, b'"', b"{", b"}", b",", b"NaN", rng.randbytes(4))
            )
        elif how == 2:
            del data[at:to]
        elif how == 3:
            data[at:at] = data[at:to] * rng.choice((1, 100))
        else:
            del data[at:]
    return bytes(data)


def mutated_values(tree: object, rng: random.Random) -> object:
    """Replace, remove, double or exchange one value in what JSON can say."""
    places = _places(tree)
    if not places:
        return copy.deepcopy(rng.choice(STRANGE))
    holder, key = rng.choice(places)
    how = rng.randrange(6)
    if how <= 2:
        holder[key] = copy.deepcopy(rng.choice(STRANGE))
    elif how == 3:
        del holder[key]
    elif how == 4:
        other, other_key = rng.choice(places)
        holder[key] = copy.deepcopy(other[other_key])
    elif isinstance(holder, dict):
        name = rng.choice(("x", "$x", "module", "weights", "$tuple"))
        holder[name] = copy.deepcopy(holder[key])
    else:
        holder.insert(key, copy.deepcopy(holder[key]))
    return tree


def _places(tree: object) -> list[tuple[Any, Any]]:
    """Every dict and list in what JSON can say, with each of its keys."""
    places, holders = [], [tree]
    while holders:
        holder = holders.pop()
        if isinstance(holder, dict):
            places += [(holder, key) for key in holder]
            holders += holder.values()
        elif isinstance(holder, list):
            places += [(holder, key) for key in range(len(holder))]
            holders += holder
    return places


class Target:
    """Loads contents from a file, and counts what became of them."""

    def __init__(self, folder: str | os.PathLike):
        self.path = Path(folder) / "changed.skcnn"
        self.counts: collections.Counter = collections.Counter()

    def __call__(self, content: bytes) -> None:
        """Load a file of this content.

        Raises
        ------
        Exception
            If loading does what it must not.
        """
        import skcnn
        from skcnn.exceptions import ModelFileError

        self.path.write_bytes(sealed(content))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                skcnn.load(self.path)
                self.counts["loaded"] += 1
            except ModelFileError:
                self.counts["refused"] += 1


def valid_contents(folder: str | os.PathLike) -> list[bytes]:
    """Contents of small saved classifiers, with all that a file may have between them."""
    import torch
    from torch.optim.lr_scheduler import StepLR

    from skcnn import VGGClassifier

    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (20, 12, 12), dtype=np.uint8)
    common = {"max_epochs": 1, "early_stopping": False, "random_state": 0}
    tiny = {"blocks": ((1, 2),), "hidden_units": 2, "image_size": 12}
    plenty = {"class_weight": {0: 1.0, 1: np.float32(2)}, "image_shape": [12, 12], "freeze": 1}
    schedule = partial(StepLR, step_size=3)
    contents = []
    for params, y in (
        ({"norm": "batch", "lr_schedule": schedule}, np.arange(20) % 3 == 0),
        (
            {"optimizer": torch.optim.SGD, "device": torch.device("cpu"), **plenty},
            np.arange(20) % 2,
        ),
        ({"normalize": False, "tta": True}, np.array(["a", "é"], object).repeat(10)),
    ):
        path = Path(folder) / "valid.skcnn"
        VGGClassifier(**common, **tiny, **params).fit(X, y).save(path)
        contents.append(unsealed(path.read_bytes()))
    return contents


def main() -> None:
    """Fuzz, and print the counts."""
    import atheris

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with atheris.instrument_imports(include=INSTRUMENTED):
        import skcnn.persistence  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        target = Target(folder)
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        contents = valid_contents(folder)
        for number, content in enumerate(contents):
            (corpus / f"{number}").write_bytes(content)
            target(content)  # so that what is loaded once is there before memory is measured
        gc.freeze()  # it need not be looked through after every load
        target.counts.clear()
        start, memory = time.perf_counter(), _peak_memory()

        def test_one(content: bytes) -> None:
            target(content)
            n_runs = target.counts.total()
            if n_runs % 10_000 == 0 or n_runs == options.runs:
                seconds = time.perf_counter() - start
                print(
                    f"{n_runs} inputs in {seconds:.0f} s: {dict(target.counts)}; peak of memory "
                    f"{(_peak_memory() - memory) / 2**20:.0f} MB above that of the first loads",
                    flush=True,
                )

        def change(content: bytes, most: int, seed: int) -> bytes:
            rng = random.Random(seed)
            # What was kept is mostly refused early: some start from valid files again.
            return mutate(rng.choice((content, rng.choice(contents))), rng)[:most]

        atheris.Setup(
            [
                sys.argv[0],
                f"-runs={options.runs}",
                f"-seed={options.seed}",
                "-max_len=65536",
                "-rss_limit_mb=2048",
                "-timeout=600",  # seconds: of a machine that may be busy with other work
                str(corpus),
            ],
            test_one,
            custom_mutator=change,
        )
        atheris.Fuzz()


def _peak_memory() -> int:
    """Bytes that this process had at once, at most."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
