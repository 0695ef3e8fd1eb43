"""The skorch net behind every estimator: skorch's interface, with a loop that does not wait."""

from __future__ import annotations

import contextlib
import functools
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EpochTimer, PrintLog
from skorch.exceptions import DeviceWarning
from skorch.utils import to_tensor
from torch import Tensor, nn

from skcnn.exceptions import DivergenceError
from skcnn.training.arithmetic import (
    MEMORY_FORMATS,
    Arithmetic,
    as_asked,
    choose_arithmetic,
    count_products,
)
from skcnn.training.averaging import WeightAverage
from skcnn.training.batches import BatchIterator, LabelledImages
from skcnn.training.callbacks import check_single_schedule, release_training_state
from skcnn.training.devices import (
    cudnn_benchmarking,
    deterministic_algorithms,
    is_available,
    out_of_memory_explained,
    release_memory,
    worker_number,
)
from skcnn.training.divergence import EpochLosses, LastGoodEpoch, check_finite_weights
from skcnn.training.gradients import check_gradients
from skcnn.training.history import record_with_best, without_batches, without_durations
from skcnn.training.interrupts import asks_to_stop
from skcnn.training.micro_batches import MicroBatches
from skcnn.training.mixing import Mixing
from skcnn.training.pickling import HASHING_PROTOCOL, to_cpu
from skcnn.training.preprocessing import Preprocessing
from skcnn.training.residency import make_resident
from skcnn.training.state import Journal, get_state, set_state
from skcnn.transfer import observable

_MOST_PREDICTION_ROWS = 256
# Requests of fewer rows are filled up to this number where the forward pass then takes no more than
# so many multiplications, a few milliseconds. From 16 rows on, the networks of this package gave a
# row the same bytes in batches of any size, on an x86-64 CPU; below, probabilities differ by up to
# 1e-6 (examples/benchmarks/prediction_batches.py).
_FEWEST_PREDICTION_ROWS = 16
_CHEAP_PRODUCTS = 1 << 28
# Pixels of one batch as the network sees them, and as they are before: to bound memory.
_MOST_PREDICTION_PIXELS = 256 * 96 * 96
_MOST_RAW_PIXELS = 256 * 512 * 512


class ImageClassifierNet(NeuralNetClassifier):
    """skorch's classifier for batches of images that are preprocessed on the device.

    Differences from skorch: losses and counts stay on the device until an epoch ends, callbacks
    hear of a batch only if they listen, an interrupt by the user ends the fit with an error instead
    of a half-trained net, and a loss that is not finite is an error too. The records of batches in
    `history` are neither pickled nor kept for a fit that is resumed: they would outgrow the rest.

    Parameters
    ----------
    module : torch.nn.Module
        Network that takes float32 batches (n, C, H, W) and emits logits (n, n_classes).
    preprocessing : callable
        Makes the :class:`Preprocessing` that is applied to every batch, on the device.
    augment : callable, optional
        Applied to the batches of training, inside `preprocessing`.
    crop : callable, optional
        Makes parts of the images of training images of the network's size, inside `preprocessing`.
    mixing : callable, optional
        Applied to the batches of training, their targets and weights, after `preprocessing`.
    average_decay : float, optional
        Validate, and end, with an exponential moving average of the weights; only in `fit_loop`.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of training; predictions are float32.
    deterministic : bool, default=False
        Train by algorithms that give the same bytes each time.
    max_grad_norm : float, optional
        Scale the gradients of a batch down to this norm, where theirs is larger.
    split_on_oom : bool, default=False
        Train on a batch in parts where there is no memory for all of it.
    keep_on_host : bool, default=False
        Leave the images on the CPU, whether they would fit on the device or not.
    compile_training : bool, default=False
        Train through ``torch.compile``; predictions use the module as it is.
    held : sequence of str, default=()
        Names of the layers that stay in evaluation mode while the others train.
    raw_size : tuple of int, optional
        Height and width of the images before `preprocessing`, where they may be large.
    **kwargs
        Parameters of :class:`skorch.NeuralNetClassifier`.
    """

    # Of each batch of training: all of it, and in an order drawn from torch's default generator.
    _share = (0, 1)
    _order: torch.Generator | None = None
    _is_cut_short = False  # by a callback that is no part of what tells fits apart
    _gradients_unchecked = False
    micro_batches: MicroBatches | None = None  # of the fit under way, where it may split batches
    # The part that makes the logits, and the multiplications of an image, once they were found.
    head_name: str | None = None
    n_products: float | None = None

    def __init__(
        self,
        module: nn.Module,
        *,
        preprocessing: Callable[[], Preprocessing],
        augment: Callable[[Tensor], Tensor] | None = None,
        crop: Callable[[Tensor, tuple[int, int]], Tensor] | None = None,
        mixing: Mixing | None = None,
        average_decay: float | None = None,
        precision: str = "auto",
        deterministic: bool = False,
        max_grad_norm: float | None = None,
        split_on_oom: bool = False,
        keep_on_host: bool = False,
        compile_training: bool = False,
        held: Sequence[str] = (),
        raw_size: tuple[int, int] | None = None,
        **kwargs: Any,
    ):
        super().__init__(module, **kwargs)
        self.preprocessing = preprocessing
        self.augment = augment
        self.crop = crop
        self.mixing = mixing
        self.average_decay = average_decay
        self.precision = precision
        self.deterministic = deterministic
        self.max_grad_norm = max_grad_norm
        self.split_on_oom = split_on_oom
        self.keep_on_host = keep_on_host
        self.compile_training = compile_training
        self.held = held
        self.raw_size = raw_size

    @property
    def _default_callbacks(self) -> list[tuple[str, Callback]]:
        callbacks: list[tuple[str, Callback]] = [("epoch_timer", EpochTimer())]
        if self.verbose:  # it formats its table for nobody, too
            callbacks.append(("print_log", PrintLog()))
        return callbacks

    def initialize_optimizer(self, *args: Any, **kwargs: Any) -> ImageClassifierNet:
        """Make the optimizer; say so where it does not take the network's parameters."""
        try:
            return super().initialize_optimizer(*args, **kwargs)
        except ValueError as error:
            raise ValueError(
                "The 'optimizer' parameter must be one for all parameters of the network; got "
                f"{self.optimizer.__name__} instead. It says: {error}"
            ) from error

    def initialize_module(self) -> ImageClassifierNet:
        """Set the module and the preprocessing, both of which skorch then moves to the device."""
        super().initialize_module()
        self.preprocessing_ = self.preprocessing()
        self.arithmetic_ = as_asked(self.precision)
        self._memory_format = "contiguous"
        return self

    # Training ------------------------------------------------------------------------------

    def partial_fit(
        self, X: Any, y: Any = None, classes: Any = None, **fit_params: Any
    ) -> ImageClassifierNet:
        """Train on, as `fit_loop` does; unlike skorch's, an interrupt by the user is an error."""
        fit_params.pop("_routing_method", None)
        if not self.initialized_:
            self.initialize()
        self.stop_ = self._is_cut_short = False
        device = torch.device(self.device)
        self._stand_in = self._make_stand_in()
        if self.split_on_oom:
            self.micro_batches = MicroBatches(self.module_, device)
        algorithms = (
            deterministic_algorithms(device) if self.deterministic else cudnn_benchmarking()
        )
        try:
            with algorithms, out_of_memory_explained(self.batch_size):
                self.notify("on_train_begin", X=X, y=y)
                self.fit_loop(X, y, **fit_params)
                self.notify("on_train_end", X=X, y=y)
        finally:
            self._stand_in = self.micro_batches = None
            release_training_state(self)
            self.module_.zero_grad()  # gradients take as much memory as the network
            self._set_memory_format("contiguous")
            self._set_training(False)
            release_memory(device)
        return self

    def _make_stand_in(self) -> Callable | None:
        """Make what is called in place of the module in training, if anything is."""
        # Only its call is given on: skorch would take a module for one of its own.
        return torch.compile(self.module_).__call__ if self.compile_training else None

    def fit_loop(
        self,
        X: Any,
        y: Any = None,
        epochs: int | None = None,
        journal: Journal | None = None,
        **fit_params: Any,
    ) -> ImageClassifierNet:
        """Train and validate for `epochs`, or until a callback stops it.

        With a `journal`, go on after the epochs of which it has the state, and keep in it the
        state after each epoch to come. The epochs of before count.

        Raises
        ------
        DivergenceError
            If a loss, or a weight, is no longer finite. The network is then as the last epoch left
            it in which all were.
        """
        self.check_data(X, y)
        n_epochs = self.max_epochs if epochs is None else epochs
        kept = None if journal is None else journal.read()
        n_done, n_left = 0, n_epochs
        if kept is not None:
            n_done = len(kept["history"])
            n_left = 0 if kept["stopped"] else n_epochs - n_done
            self.arithmetic_ = Arithmetic(*kept["arithmetic"])
            if self.verbose:
                print(
                    f"Goes on after epoch {n_done} of {n_epochs}, which {journal.parameter}= holds."
                )
        training, validation = self.get_split_datasets(X, y)
        if kept is None:
            self._choose_arithmetic(training)
            if self.verbose:
                print(f"Trains in {' '.join(self.arithmetic_)}.")
        self._set_memory_format(self.arithmetic_.memory_format)
        self._gradients_unchecked = self.precision == "bfloat16" and kept is None
        datasets = {"dataset_train": training, "dataset_valid": validation}
        if n_left > 1 and not self.keep_on_host:
            training = self._resident(training, resize=self.crop is None)
            validation = self._resident(validation)
        training_batches = self.get_iterator(training, training=True)
        validation_batches = (
            None if validation is None else self.get_iterator(validation, training=False)
        )
        average = None
        if self.average_decay is not None:
            average = WeightAverage(self.module_, self.average_decay)
        if kept is not None:
            set_state(self, average, kept)

        def train_step(batch: Any, **fit_params: Any) -> dict[str, Tensor]:
            step = self.train_step(batch, **fit_params)
            if average is not None:
                average.update()
            return step

        good = LastGoodEpoch()
        if kept is not None and n_left > 0:
            good.keep(self)
        try:
            for epoch in range(n_done, n_done + n_left):
                if average is not None and epoch > 0:
                    average.swap()  # back to what trains
                self.notify("on_epoch_begin", **datasets)
                if self._ends():
                    self.history.pop()
                    if average is not None:
                        average.swap()
                    break
                if epoch == n_done:
                    check_single_schedule(self)
                self.run_single_epoch(training_batches, True, "train", train_step, **fit_params)
                if average is not None:
                    average.swap()  # for validation, for what is kept of the epoch, and in the end
                self.run_single_epoch(
                    validation_batches, False, "valid", self.validation_step, **fit_params
                )
                check_finite_weights(self)
                self.notify("on_epoch_end", **datasets)
                if journal is not None and not self._is_cut_short:
                    journal.write(get_state(self, average))
                if self._ends():
                    break
                if epoch + 1 < n_epochs:
                    good.keep(self)
        except DivergenceError as error:
            error.n_good_epochs = good.n_epochs
            if good.n_epochs > 0:
                good.put_back(self)
            raise
        return self

    def _resident(self, dataset: Any, resize: bool = True) -> Any:
        if not isinstance(dataset, LabelledImages):
            return dataset
        return make_resident(dataset, self.preprocessing_, torch.device(self.device), resize)

    def _choose_arithmetic(self, training: Any) -> None:
        """Set the precision and memory format of this fit."""
        if isinstance(training, LabelledImages):
            channels, *_ = training.images.layout.shape
            self.arithmetic_ = choose_arithmetic(
                self.module_,
                (channels, *self.preprocessing_.size),
                precision=self.precision,
                device=torch.device(self.device),
            )

    def _set_memory_format(self, name: str) -> None:
        """Lay out the network, and what the optimizer keeps of it, in a memory format."""
        self._memory_format = name
        memory_format = MEMORY_FORMATS[name]
        self.module_.to(memory_format=memory_format)
        for state in self.optimizer_.state.values():
            for key, value in state.items():
                if isinstance(value, Tensor) and value.ndim == 4:
                    state[key] = value.to(memory_format=memory_format)

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Call the callbacks that override `method_name`.

        One that raises KeyboardInterrupt asks for the end of the fit, as in skorch: after the batch
        under way, the epoch is validated and is the last. Before the first batch it is an error, as
        an interrupt by the user is at any time.
        """
        outer = sys.exc_info()[1]
        getattr(self, method_name)(self, **cb_kwargs)
        for _, callback in self.callbacks_:
            if not _listens(callback, method_name):
                continue
            try:
                getattr(callback, method_name)(self, **cb_kwargs)
            except KeyboardInterrupt as error:
                is_early = method_name == "on_epoch_begin" and len(self.history) == 1
                if method_name == "on_train_begin" or is_early or not asks_to_stop(error, outer):
                    raise
                self.stop_ = True
                self._is_cut_short |= not getattr(callback, "changes_fit", True)

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Open a row of the history, and note the learning rate in it."""
        super().on_epoch_begin(net, **kwargs)
        self.history.record("lr", self.optimizer_.param_groups[0]["lr"])

    def run_single_epoch(
        self,
        iterator: Iterable | None,
        training: bool,
        prefix: str,
        step_fn: Callable,
        **fit_params: Any,
    ) -> None:
        """Run over all batches; their losses leave the device together, at the end."""
        if iterator is None:
            return
        self._set_training(training)
        epoch = len(self.history)
        losses = EpochLosses(prefix, len(iterator), epoch, self._of_all)
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            lr = self.optimizer_.param_groups[0]["lr"]
            step = {name: y.detach() for name, y in step_fn(batch, **fit_params).items()}
            record = self.history[-1]["batches"][-1]
            record[f"{prefix}_batch_size"] = getattr(batch, "n_rows", len(batch[1]))
            losses.add(step["loss"], record, lr)
            self.notify("on_batch_end", batch=batch, training=training, **step)
            if training and self.stop_ and self._share == (0, 1):
                break
        mean = losses.mean()
        self.history.record(f"{prefix}_batch_count", len(losses.records))
        record_with_best(self.history, f"{prefix}_loss", mean, lower_is_better=True)

    def _ends(self) -> bool:
        """Whether a callback, in any process, asked for the end."""
        return self.stop_

    def _of_all(self, losses: Tensor) -> Tensor:
        """Losses of the batches of an epoch, of which this process may have had its share."""
        return losses

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        """Forward and backward pass of a batch."""
        self._ensure_training(True)
        images, targets = batch
        try:
            x = self._prepared(images)
            weights = getattr(batch, "weights", None)
            if self.mixing is not None:
                weights = None if weights is None else weights.to(x.device)
                x, targets, weights = self.mixing(x, targets.to(x.device), weights)
            if self._gradients_unchecked:
                self._check_gradients(x, targets)
            step = functools.partial(self._learn_from, x, targets, weights, batch, **fit_params)
            parts = self.micro_batches
            y_pred, loss = step() if parts is None else parts.train(step, len(x))
        except ValueError as error:
            _, n_processes = self._share
            if len(targets) == 1 and any(
                isinstance(layer, nn.modules.batchnorm._BatchNorm)
                for layer in self.module_.modules()
            ):
                raise ValueError(
                    f"The 'batch_size' parameter must be at least {2 * n_processes}, and so must "
                    "the number of training images, for a network with batch normalisation"
                    f"{f' in {n_processes} processes' if n_processes > 1 else ''}; got a batch of "
                    f"{getattr(batch, 'n_rows', 1)} instead."
                ) from error
            raise
        if self.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.module_.parameters(), self.max_grad_norm)
        return {"loss": loss, "y_pred": y_pred}

    def _learn_from(
        self, x: Tensor, targets: Tensor, weights: Tensor | None, batch: Any, **fit_params: Any
    ) -> tuple[Tensor, Tensor]:
        """Compute gradients, part by part where need be; return logits and loss of the batch."""
        parts = [slice(None)] if self.micro_batches is None else self.micro_batches.parts(len(x))
        outputs, losses = [], []
        for rows in parts:
            y_pred = self._forward(x[rows], **fit_params)
            weights_of_part = None if weights is None else weights[rows]
            loss = self.get_loss(y_pred, targets[rows], weights=weights_of_part)
            if len(parts) > 1:  # then the gradients add up to those of the mean over the batch
                loss = loss * (len(y_pred) / len(x))
            outputs.append(y_pred.detach())
            losses.append(self._backward(loss, batch).detach())
        return (outputs[0], losses[0]) if len(parts) == 1 else (torch.cat(outputs), sum(losses))

    def _check_gradients(self, x: Tensor, targets: Tensor) -> None:
        """Compare the gradients of the first batch in bfloat16 with those in float32."""
        self._gradients_unchecked = False
        x = x.contiguous(memory_format=MEMORY_FORMATS[self._memory_format])
        check_gradients(
            self.module_,
            x,
            lambda y_pred, n: self.get_loss(main_output(y_pred).float(), targets[:n].to(x.device)),
        )

    def _backward(self, loss: Tensor, batch: Any) -> Tensor:
        """Compute the gradients of the loss of a batch; return what is recorded of it."""
        loss.backward()
        return loss

    def _set_training(self, training: bool = True) -> None:
        super()._set_training(training)
        if training:
            for name in self.held:
                self.module_.get_submodule(name).eval()

    def _ensure_training(self, training: bool) -> None:
        """Set the mode of all layers, which takes a while, if a callback changed the network's."""
        if self.module_.training != training:
            self._set_training(training)

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        """Forward pass of a batch, without gradients."""
        self._ensure_training(False)
        images, targets = batch
        with torch.no_grad():
            y_pred = self.infer(images, **fit_params)
            loss = self.get_loss(y_pred, targets, weights=getattr(batch, "weights", None))
        return {"loss": loss, "y_pred": y_pred}

    def get_loss(
        self, y_pred: Tensor, y_true: Tensor, *args: Any, weights: Tensor | None = None, **kwargs
    ) -> Tensor:
        """Mean cross-entropy, each row's multiplied by its weight."""
        losses = super().get_loss(y_pred, y_true, *args, **kwargs)
        if weights is not None:
            losses = losses * weights.to(losses.device)
        return losses.mean()

    def get_iterator(self, dataset: Any, training: bool = False) -> Iterable:
        """Mini-batches: read whole where the dataset can, item by item otherwise."""
        if isinstance(dataset, LabelledImages):
            return BatchIterator(
                dataset,
                self.batch_size if training else self.prediction_rows,
                shuffle=training,
                device=torch.device(self.device),
                equal=training and self.compile_training,
                share=self._share if training else (0, 1),
                generator=self._order,
            )
        return super().get_iterator(dataset, training=training)

    # Inference -----------------------------------------------------------------------------

    def infer(self, x: Tensor, **fit_params: Any) -> Tensor:
        """Logits, in float32, of a batch of images (n, C, H, W), uint8 or float."""
        return self._forward(self._prepared(x), **fit_params)

    def _prepared(self, x: Tensor) -> Tensor:
        x = to_tensor(x, device=self.device)
        if not self.module_.training:
            return self.preprocessing_(x)
        return self.preprocessing_(x, augment=self.augment, crop=self.crop)

    def _forward(
        self,
        x: Tensor,
        module: nn.Module | None = None,
        **fit_params: Any,
    ) -> Tensor:
        """Logits of the network, or of a `module` like it; float32 and as it is laid out now."""
        precision = self.arithmetic_.precision if self.module_.training else "float32"
        if module is None:
            stand_in = self.module_.training and getattr(self, "_stand_in", None)
            module = stand_in or self.module_
        x = x.contiguous(memory_format=MEMORY_FORMATS[self._memory_format])
        with _precision(precision, x.device.type):
            y_pred = main_output(module(x, **fit_params))
        return y_pred.float()

    @property
    def prediction_rows(self) -> int:
        """Most rows of a prediction batch: fewer for large images, to bound memory."""
        fit_in = _MOST_PREDICTION_PIXELS // math.prod(self.preprocessing_.size)
        if self.raw_size is not None:
            fit_in = min(fit_in, _MOST_RAW_PIXELS // math.prod(self.raw_size))
        fit_in = max(1, fit_in)
        return min(_MOST_PREDICTION_ROWS, 1 << (fit_in.bit_length() - 1))

    def rows_for(self, n_images: int, n_channels: int) -> int:
        """Rows of each batch of a request of `n_images`: few are filled up, where that is cheap."""
        most = self.prediction_rows
        rows = math.ceil(n_images / math.ceil(n_images / most))
        if rows >= _FEWEST_PREDICTION_ROWS:
            return rows
        if self.n_products is None:
            shape = (n_channels, *self.preprocessing_.size)
            try:
                self.n_products = count_products(self.module_, shape, torch.device(self.device))
            except Exception:  # it does not take a single image; of others, the prediction says it
                self.n_products = math.inf
        is_cheap = _FEWEST_PREDICTION_ROWS * self.n_products <= _CHEAP_PRODUCTS
        return min(_FEWEST_PREDICTION_ROWS, most) if is_cheap else rows

    @torch.inference_mode()
    def logits(self, batches: Iterable[Tensor], *, mirrored: bool = False) -> Iterator[Tensor]:
        """Logits, on the CPU, of each of `batches` of at most ``prediction_rows`` images.

        With `mirrored`, the mean of those of the images and of their mirror images.
        """
        for batch in batches:
            y_pred = self.infer(batch)
            if mirrored:
                y_pred = (y_pred + self.infer(batch.flip(-1))) / 2
            yield y_pred.cpu()

    @torch.inference_mode()
    def features(
        self, batches: Iterable[Tensor], layer_name: str, *, output: bool = False
    ) -> Iterator[Tensor]:
        """Input of a layer, or its `output`, (n, n_features) on the CPU, for each batch.

        Feature maps (n, C, H, W) are averaged over their pixels.

        Raises
        ------
        ValueError
            If the layer does not run, or has no features for each image.
        """
        captured: list[Any] = []

        def capture_input(layer: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            captured[:] = [_first_tensor([*args, *kwargs.values()])]

        def capture_output(layer: nn.Module, args: tuple, value: Any) -> None:
            captured[:] = [_first_tensor(value if isinstance(value, tuple | list) else [value])]

        module = observable(self.module_)
        layer = module.get_submodule(layer_name)
        if output:
            layer.register_forward_hook(capture_output)
        else:
            layer.register_forward_pre_hook(capture_input, with_kwargs=True)
        for batch in batches:
            captured.clear()
            self._forward(self._prepared(batch), module=module)
            features = captured[0] if captured else None
            if features is None or features.ndim == 0 or len(features) != len(batch):
                got = "one that does not run"
                if captured:
                    shape = None if features is None else tuple(features.shape)
                    got = f"{'no tensor' if shape is None else f'shape {shape}'} for "
                    got += f"{len(batch)} images"
                raise ValueError(
                    f"The layer {layer_name!r} must give features for each image; got {got} "
                    "instead. Name another 'features_layer'."
                )
            features = features.float()
            features = features.mean(dim=(2, 3)) if features.ndim == 4 else features
            yield features.flatten(1).cpu()

    # Pickling ------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """State with all tensors in the CPU's memory, without what can be found again.

        What a worker sends to its parent stays on the CPU: the parent may have no such device,
        and its memory is for the fits of the workers.
        """
        state = {n: v for n, v in vars(self).items() if n not in ("_stand_in", "head_name")}
        state = to_cpu({**state, "history_": without_batches(self.history)})
        if worker_number() is not None:
            state["device"] = "cpu"
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        device = torch.device(self.device)
        if device.type == "cpu":
            return
        if not is_available(device):
            warnings.warn(
                f"A net was trained on the device '{device}', which this machine does not have: it "
                "computes on the CPU.",
                DeviceWarning,
                stacklevel=2,
            )
            self.device = "cpu"
            return
        for name in (*self._modules, *self._criteria):
            getattr(self, f"{name}_").to(device)
        self.optimizer_.load_state_dict(self.optimizer_.state_dict())  # to where the weights are

    def __reduce_ex__(self, protocol: int) -> tuple:
        make, args, state, *rest = super().__reduce_ex__(protocol)
        if protocol <= HASHING_PROTOCOL:
            state["history_"] = without_durations(state["history_"])
        return make, args, state, *rest


def main_output(y_pred: Any) -> Tensor:
    """Pick the logits: the first of several outputs, where a network has auxiliary ones."""
    return y_pred[0] if isinstance(y_pred, tuple | list) else y_pred


def _first_tensor(values: list[Any]) -> Tensor | None:
    # Copied: the layers that follow may write to it.
    return next((value.clone() for value in values if isinstance(value, Tensor)), None)


def _precision(name: str, device_type: str) -> contextlib.AbstractContextManager:
    """Context for a forward pass; none, which costs nothing, where there is nothing to change."""
    if name == "float32" and not torch.is_autocast_enabled(device_type):
        return contextlib.nullcontext()
    return torch.autocast(device_type, dtype=torch.bfloat16, enabled=name == "bfloat16")


def _listens(callback: Any, method_name: str) -> bool:
    return getattr(type(callback), method_name, None) is not getattr(Callback, method_name)
