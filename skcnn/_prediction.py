"""What a fitted classifier does: check images, predict, give features."""

from __future__ import annotations

import contextlib
import difflib
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from sklearn.base import ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from torch import Tensor, nn
from torch.nn import functional

from skcnn._labels import label_array, refuse_missing
from skcnn._paths import paths_in
from skcnn.images import (
    ArrayImages,
    DatasetImages,
    FileImages,
    ImageFiles,
    Images,
    ScaleComparison,
    as_array,
    dataset_labels,
    first_image,
    image_extremes,
    infer_layout,
    is_dataset,
    open_paths,
)
from skcnn.training.batches import read_ahead
from skcnn.training.devices import cpu_threads, deterministic_algorithms
from skcnn.training.net import ImageClassifierNet
from skcnn.transfer import find_head, parts_of

# Pixels that are read at once, unless a batch has more.
_READ_PIXELS = 1 << 21
# How arrays are checked. Pixels are looked at in chunks, later, so that none is looked at twice.
_CHECKS = {"dtype": "numeric", "allow_nd": True, "ensure_all_finite": False}


class ImagePredictor(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin):
    """Everything that needs no more than the fitted attributes."""

    # Predicting ------------------------------------------------------------------------------

    def predict(self, X: Any) -> np.ndarray:
        """Predict the labels of images.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, d)
            Images, on the scale that `fit` saw, or their paths: of the shape that `fit` saw, or
            rows of as many numbers, which are folded as those of `fit`.

        Returns
        -------
        y : ndarray of shape (n,)
            The most probable of `classes_` for each image.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        ValueError
            If the images do not fit those of `fit`, or are not finite, or the network
            gives NaN or infinity for one.
        """
        best = self._logits(X).argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict the probabilities of all classes.

        Computed in batches of one size: the result for an image does not depend on the order of
        the images, nor on what the others show. For another number of images, the size may be
        another, and the result differ in its last bits, by at most 1e-6. Requests of fewer than 16
        images are filled up to 16 where that is cheap, and else computed as they are. With
        ``deterministic=True``, the size is always the same, and so is the result: a single image
        then takes as long as a full batch.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, d)
            Images, on the scale that `fit` saw, or their paths: of the shape that `fit` saw, or
            rows of as many numbers, which are folded as those of `fit`.

        Returns
        -------
        probabilities : ndarray of shape (n, n_classes)
            Softmax of the network's float32 logits, in float64, in the order of `classes_`.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        ValueError
            If the images do not fit those of `fit`, or are not finite, or the network
            gives NaN or infinity for one.
        """
        return softmax(self._logits(X), axis=1)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Predict the logarithms of the probabilities of all classes.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, d)
            Images, on the scale that `fit` saw, or their paths: of the shape that `fit` saw, or
            rows of as many numbers, which are folded as those of `fit`.

        Returns
        -------
        log_probabilities : ndarray of shape (n, n_classes)
            In the order of `classes_`.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        ValueError
            If the images do not fit those of `fit`, or are not finite, or the network
            gives NaN or infinity for one.
        """
        return log_softmax(self._logits(X), axis=1)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Compute the accuracy of the predictions for images.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, d)
            Images, on the scale that `fit` saw, or their paths: of the shape that `fit` saw, or
            rows of as many numbers, which are folded as those of `fit`.
        y : array-like of shape (n,)
            Labels; None where X is a Dataset of (image, label).
        sample_weight : array-like of shape (n,), default=None
            Weight of each image.

        Returns
        -------
        accuracy : float
            Share of the images, by weight, whose label is predicted.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        ValueError
            If the images do not fit those of `fit`, or are not finite, or the network
            gives NaN or infinity for one.
        """
        y = dataset_labels(X) if y is None and is_dataset(X) else y
        return super().score(X, refuse_missing(label_array(y)), sample_weight)

    def transform(self, X: Any) -> np.ndarray:
        """Compute the features that the network's last layer takes, or those of `features_layer`.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, d)
            Images, on the scale that `fit` saw, or their paths: of the shape that `fit` saw, or
            rows of as many numbers, which are folded as those of `fit`.

        Returns
        -------
        features : ndarray of shape (n, n_features), float32
            Feature maps are averaged over their pixels.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        ValueError
            If the images do not fit those of `fit`, or are not finite, or the network
            has no layer of the name `features_layer`.
        """
        check_is_fitted(self, "net_")
        return self._forward(X, self._features)

    def _features(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        if self.features_layer is None:
            net = self.net_
            if net.head_name is None:
                net.head_name = self._find_head(net.module_)
            return net.features(batches, net.head_name)
        self._check_features_layer(self.module_)
        return self.net_.features(batches, self.features_layer, output=True)

    def _logits(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "net_")
        logits = partial(self.net_.logits, mirrored=self.tta)
        logits = self._forward(X, logits).astype(np.float64)
        largest = logits.max(axis=1)
        if not np.isfinite(largest).all():
            row = int(np.argmin(np.isfinite(largest)))
            raise ValueError(
                f"The network of {self._name} must give finite logits; got {largest[row]} for "
                f"X[{row}] instead. Its weights are not finite, or the pixels too large for them: "
                "fit it anew, or look at X."
            )
        return logits

    def _forward(
        self, X: Any, forward: Callable[[Iterable[Tensor]], Iterator[Tensor]]
    ) -> np.ndarray:
        images = self._check_images(X)
        algorithms = contextlib.nullcontext()
        if self.deterministic:
            algorithms = deterministic_algorithms(self.device_)
        with cpu_threads(self.n_threads), algorithms:
            return torch.cat(list(forward(self._read_batches(images))))[: len(images)].numpy()

    def _read_batches(self, images: Images) -> Iterator[Tensor]:
        """Batches for prediction, checked as they are read: several small ones at once.

        All have the same number of rows, the last filled up with zeros: within one shape, the
        result of a row does not depend on its place, nor on the other rows.
        """
        comparison = ScaleComparison(self._pixel_scale)
        rows = self.net_.prediction_rows
        if not self.deterministic:
            rows = self.net_.rows_for(len(images), self.image_shape_[0])
        step = rows * max(1, _READ_PIXELS // (rows * math.prod(images.layout.shape)))
        starts = range(0, len(images), step)
        chunks = (images.read(slice(start, start + step)) for start in starts)
        if isinstance(images, ArrayImages) and images.is_mapped:
            chunks = read_ahead(chunks)
        for start, chunk in zip(starts, chunks, strict=True):
            comparison.add(chunk, *image_extremes(chunk, start))
            if missing := -len(chunk) % rows:
                chunk = functional.pad(chunk, (0, 0) * 3 + (0, missing))
            yield from chunk.split(rows)
        comparison.warn()

    # What was learned --------------------------------------------------------------------------

    @property
    def module_(self) -> nn.Module:
        """The trained network."""
        return self._fitted_net().module_

    @property
    def device_(self) -> torch.device:
        """Where the network is."""
        return torch.device(self._fitted_net().device)

    @property
    def _n_features_out(self) -> int:
        blank = torch.zeros(1, *self.image_shape_)
        return next(iter(self._features([blank]))).shape[1]

    def _fitted_net(self) -> ImageClassifierNet:
        try:
            return self.net_
        except AttributeError:
            raise AttributeError(
                f"This {self._name} is not fitted yet: call 'fit' first."
            ) from None

    # Checks ------------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _check_images(self, X: Any, *, reset: bool = False, name: str = "X") -> Images:
        """Source of the images in X; with `reset`, their layout becomes the one to expect.

        With `reset`, their pixels are not divided, since a scan must find the divisor.
        """
        paths = paths_in(X, name)
        if paths is not None:
            given, X = X, open_paths(paths, **self._options_for_paths(reset))
        if is_dataset(X):
            row_shape, source = first_image(X).shape, DatasetImages
        elif isinstance(X, ImageFiles):
            if len(X) == 0:
                raise ValueError(f"{name} must hold at least one image; got 0 samples.")
            # Not as an array, which would be a copy of all pixels.
            row_shape, source = X.shape[1:], partial(FileImages, verbose=self.verbose > 0)
        else:
            X, source = as_array(X), ArrayImages
            if reset or (len(self._layout.row_shape) == 1 and getattr(X, "ndim", 2) <= 2):
                X = validate_data(self, X, reset=reset, **_CHECKS)
            else:
                X = check_array(X, input_name=name, estimator=self, **_CHECKS)
            if X.dtype.kind not in "buif":
                raise ValueError(
                    f"{name} must hold pixels, which are numbers or booleans; got an array of "
                    f"{X.dtype} instead. Convert them first."
                )
            row_shape = X.shape[1:]
        if reset and source is not ArrayImages:
            vars(self).pop("feature_names_in_", None)
        if reset:
            self.file_options_ = X.options if isinstance(X, ImageFiles) else {}
            self._layout = layout = infer_layout(row_shape, self.image_shape, self._name)
            self.image_shape_ = self._layout.shape
            self.n_features_in_ = int(np.prod(row_shape))
            if paths is not None:  # a column, whose name a ColumnTransformer asks for
                self.n_features_in_ = 1
                validate_data(self, given, reset=True, skip_check_array=True)
            return source(X, layout)
        layout = self._layout.for_rows(tuple(row_shape))
        if layout is None:
            remedy = "Resize or reshape them."
            if np.shape(X) == self._layout.row_shape:
                remedy = f"For a single image, pass {name}[None]."
            raise ValueError(
                f"{name} must have images of the shape that {self._name} was fitted on, "
                f"{self._layout.row_shape}, or rows of {math.prod(self._layout.shape)} numbers; "
                f"got {tuple(row_shape)} instead. {remedy}"
            )
        return source(X, layout, self._pixel_scale.divisor)

    def _options_for_paths(self, reset: bool) -> dict[str, Any]:
        """Options of :class:`ImageFiles` for paths in X: as `image_size` says, then as in `fit`."""
        if not reset:
            return self.file_options_
        return {"image_size": None if self.image_size == "auto" else self.image_size}

    def _find_head(self, module: nn.Module) -> str:
        return find_head(module, (self.image_shape_[0], *self.input_size_))

    def _check_features_layer(self, module: nn.Module) -> None:
        names = [name for name, _ in module.named_modules() if name]
        if self.features_layer not in names:
            close = difflib.get_close_matches(self.features_layer, names, n=5, cutoff=0.4)
            raise ValueError(
                f"The 'features_layer' parameter of {self._name} must be None or the name of a "
                f"layer of its network; got {self.features_layer!r} instead."
                + (f" Close to it: {', '.join(close)}." if close else "")
                + f" The network's parts are {parts_of(module)}."
            )
