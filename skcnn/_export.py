"""A fitted classifier as an ONNX model: raw images in, probabilities out."""

from __future__ import annotations

import copy
import json
import warnings
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skcnn._files import checked_target, naming_the_file, write_whole
from skcnn._version import __version__
from skcnn.images import ImageLayout
from skcnn.training.net import ImageClassifierNet, main_output
from skcnn.training.preprocessing import resizing_matrices

# Largest difference between the probabilities of the model and of `predict_proba`. Other kernels
# round otherwise, by less than a tenth of this (tests/test_export.py); what is wrong, by far more.
_TOLERANCE = 1e-4
# Batches on which the two are compared: one image, and several.
_TRIED = (1, 3)


class ExportedNetwork:
    """A fitted classifier for runtimes that know neither Python nor torch."""

    def export_onnx(self, path: str | PathLike) -> Path:
        """Write the network, with all that is done to images before it, as an ONNX model.

        Its input ``images`` is the array that `predict_proba` takes, of the shape that X had at
        `fit`, of any number of images: uint8 if it was uint8, else float32, undivided.
        Its output ``probabilities`` is float32, of shape (n, n_classes). Scaling, resizing,
        normalisation and, with `tta`, the mirror images are in the model; checks of the input are
        not.

        Its metadata hold ``classes``, a JSON list in the order of the probabilities,
        ``image_shape``, (C, H, W), and ``skcnn_version``.

        Before anything is written, the model is run by onnxruntime on batches of random images, and
        its probabilities are compared with those of `predict_proba`.

        Parameters
        ----------
        path : str or path-like
            The file, in a folder that exists. A file that is there is replaced.

        Returns
        -------
        path : Path
            The file.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        ImportError
            If the extra ``skcnn[onnx]`` is not installed.
        TypeError
            If `path` is no path.
        OSError
            If `path` is a folder, or in none that exists, or the file cannot be written.
        ValueError
            If the network cannot be expressed in ONNX, or not for any number of images, or the
            model gives other probabilities.

        Examples
        --------
        >>> import tempfile
        >>> import numpy as np
        >>> import onnxruntime
        >>> from sklearn.datasets import load_digits
        >>> from skcnn import LeNetClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> clf = LeNetClassifier(max_epochs=1, random_state=0).fit(X, y)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = clf.export_onnx(f"{folder}/digits.onnx")
        ...     session = onnxruntime.InferenceSession(path)
        >>> (probabilities,) = session.run(None, {"images": X[:5].astype(np.float32)})
        >>> bool(np.allclose(probabilities, clf.predict_proba(X[:5]), atol=1e-5))
        True
        """
        check_is_fitted(self, "net_")
        path = checked_target(path, "export_onnx")
        onnx, onnxruntime = _import_onnx()
        graph = _RawToProbabilities(
            self.net_, self._layout, self._pixel_scale.divisor, mirrored=self.tta
        ).eval()
        images = self._random_images(max(_TRIED))
        try:
            model = _traced(graph, torch.from_numpy(images))
            onnx.helper.set_model_props(model, self._metadata())
            content = model.SerializeToString()
            session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        except Exception as error:  # of torch, onnxscript, onnx, protobuf or onnxruntime
            raise ValueError(
                f"The network of {self._name} must be one that torch.onnx.export can express in "
                f"ONNX; got {type(self.module_).__name__}, which it cannot: {_first_line(error)}. "
                "Avoid Python control flow that depends on the values of tensors, and operators "
                "that ONNX does not have."
            ) from error
        for n in _TRIED:
            try:
                (found,) = session.run(None, {"images": images[:n]})
            except Exception as error:  # of onnxruntime, whose classes have no public names
                raise ValueError(
                    f"The network of {self._name} must take any number of images to be exported; "
                    f"got {type(self.module_).__name__}, whose model takes no {n}: "
                    f"{_first_line(error)}. Do not make a constant of the size of a batch."
                ) from error
            difference = np.abs(found - self.predict_proba(images[:n])).max()
            if not difference <= _TOLERANCE:
                raise ValueError(
                    f"The network of {self._name} must give the same probabilities in ONNX, to "
                    f"{_TOLERANCE:g}; got a difference of {difference:.2g} for {n} images instead. "
                    "Layers that draw random numbers, or look at their batch as a whole, do so."
                )
        with naming_the_file(path):
            write_whole(path, content)
        return path

    def _random_images(self, n: int) -> np.ndarray:
        """Images such as `predict_proba` takes, on the scale that `fit` saw."""
        shape = (n, *self._layout.row_shape)
        rng = np.random.default_rng(0)
        divisor, is_uint8, low, high, *_ = self._pixel_scale
        images = rng.uniform(low * divisor, high * divisor, shape)
        return np.rint(images).astype(np.uint8) if is_uint8 else images.astype(np.float32)

    def _metadata(self) -> dict[str, str]:
        return {
            "classes": json.dumps(self.classes_.tolist(), default=str),
            "image_shape": json.dumps(self.image_shape_),
            "skcnn_version": __version__,
        }


class _RawToProbabilities(nn.Module):
    """What `predict_proba` does to an array of images, in operations that ONNX has.

    Resizing is a product with two matrices: what runtimes take for antialiased resizing differs
    from torch's, and from release to release.
    """

    def __init__(
        self, net: ImageClassifierNet, layout: ImageLayout, divisor: float, mirrored: bool
    ):
        super().__init__()
        self.layout = layout
        self.divisor = divisor
        self.mirrored = mirrored
        self.preprocessing, self.network = (
            copy.deepcopy(part).cpu() for part in (net.preprocessing_, net.module_)
        )
        matrices = resizing_matrices(layout.shape[1:], self.preprocessing.size)
        for name, matrix in zip(("rows", "columns"), matrices, strict=True):
            self.register_buffer(name, matrix)

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities (n, n_classes) of images (n, *layout.row_shape)."""
        x = images.reshape(-1, *self.layout.unfolded)
        if self.layout.channels_last:
            x = x.permute(0, 3, 1, 2)
        x = x.float() / self.divisor
        if self.layout.shape[1:] != self.preprocessing.size:
            x = self.rows @ x @ self.columns
        x = self.preprocessing(x)
        logits = main_output(self.network(x))
        if self.mirrored:
            logits = (logits + main_output(self.network(x.flip(-1)))) / 2
        return logits.softmax(1)


def _import_onnx() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  (by which torch exports)
    except ImportError as error:
        raise ImportError(
            f"export_onnx requires onnx, onnxruntime and onnxscript, and found no {error.name}. "
            "Remedy: pip install 'skcnn[onnx]'"
        ) from error
    return onnx, onnxruntime


def _traced(graph: nn.Module, images: Tensor) -> Any:
    """ONNX model of `graph`, for any number of images."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of what torch and onnxscript use of each other
        program = torch.onnx.export(
            graph,
            (images,),
            dynamo=True,
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_shapes={"images": {0: torch.export.Dim("n")}},
            verbose=False,
        )
    return program.model_proto


def _first_line(error: Exception) -> str:
    """Say what went wrong in torch.export, whose errors may fill pages: its cause, in a line."""
    cause = error.__cause__ or error
    text = str(cause).strip() or type(cause).__name__
    return f"{text.splitlines()[0]:.300}".rstrip(".")
