"""The estimator, and fit: validate, encode y, build, train."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import RandomState
from sklearn.utils import check_random_state
from skorch.helper import predefined_split
from torch import Tensor, nn

from skcnn._export import ExportedNetwork
from skcnn._fit_parts import identify_fit
from skcnn._labels import check_class_weights, check_labels, check_weights, encode_labels
from skcnn._parameters import SharedParameters
from skcnn._prediction import ImagePredictor
from skcnn._saving import SavedClassifier
from skcnn._summary import SummarisedNetwork
from skcnn.exceptions import (
    AdaptedWeightsWarning,
    DivergenceError,
    SlowPrecisionWarning,
    warn_caller,
)
from skcnn.images import (
    ArrayImages,
    Images,
    ImageScan,
    PixelScale,
    dataset_labels,
    is_dataset,
    scan_images,
)
from skcnn.memory import (
    FileJournal,
    FitIdentity,
    FitStore,
    fingerprint,
    open_checkpoint,
    open_store,
)
from skcnn.training.augmentation import resolve_augmentation
from skcnn.training.batches import BatchIterator, LabelledImages
from skcnn.training.callbacks import AccuracyEarlyStopping, training_callbacks
from skcnn.training.devices import cpu_threads, has_bfloat16, resolve_device
from skcnn.training.mixing import make_mixing
from skcnn.training.net import ImageClassifierNet
from skcnn.training.optimizers import default_lr, optimizer_settings
from skcnn.training.outcome import ChanceLevel, outcome_warnings
from skcnn.training.plan import TrainingPlan, plan_training
from skcnn.training.preprocessing import IMAGENET_STATISTICS, Preprocessing, for_channels
from skcnn.training.reproducibility import seeded_generators
from skcnn.training.splitting import Rows, canonical_rows, hold_out, relative_weights
from skcnn.transfer import (
    Frozen,
    TrainedWeights,
    load_weights,
    read_weights,
    set_frozen,
)


class ImageClassifier(
    ImagePredictor, SavedClassifier, SummarisedNetwork, ExportedNetwork, SharedParameters
):
    """Base of the classifiers: everything but the network.

    A subclass adds its network's parameters, as dataclass fields with their constraints, and names
    the network in `_network`, or overrides `_network_arguments` and `_build_network`.
    """

    # What a subclass says of its network -----------------------------------------------------

    _network = None  # class of the network; no annotation either

    def _network_options(
        self, size: tuple[int, int], weights: Mapping[str, Tensor] | None
    ) -> dict[str, Any]:
        """Options of the network for images of `size` (H, W), those left open fitting `weights`."""
        shared = {field.name for field in fields(SharedParameters)}
        own = {field.name for field in fields(self)} - shared
        options = {name: getattr(self, name) for name in own}
        if options.get("norm") == "auto":
            plain = weights is not None and not any(n.endswith("running_mean") for n in weights)
            options["norm"] = None if plain else "batch"
        return options

    def _torchvision_name(self) -> str | None:
        """Name of the torchvision model with the same network, for its trained weights."""
        return None

    def _network_arguments(
        self,
        image_shape: tuple[int, int, int],
        n_classes: int,
        weights: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Any]:
        """Arguments of `_build_network`, for a network of a form that `weights` fit."""
        in_channels, *size = image_shape
        if self.image_size != "auto":
            size = [self.image_size] * 2
        options = self._network_options(tuple(size), weights)
        smallest = self._network.smallest_side(**options)
        if self.image_size != "auto" and self.image_size < smallest:
            raise ValueError(
                f"The 'image_size' parameter of {self._name} must be 'auto' or at least "
                f"{smallest}, the smallest side that its network takes; got {self.image_size} "
                "instead."
            )
        height, width = (max(side, smallest) for side in size)
        sizes = {"in_channels": in_channels, "n_classes": n_classes, "input_size": (height, width)}
        return {**sizes, **options}

    def _build_network(self, **arguments: Any) -> nn.Module:
        """Network with random weights."""
        return self._network(**arguments)

    def _make_module(
        self,
        image_shape: tuple[int, int, int],
        n_classes: int,
        weights: Mapping[str, Tensor] | None = None,
    ) -> tuple[nn.Module, tuple[int, int]]:
        """Network with random weights, of a form that `weights` fit, and the (H, W) it takes."""
        arguments = self._network_arguments(image_shape, n_classes, weights)
        return self._build_network(**arguments), arguments["input_size"]

    # Fitting ---------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
    ) -> ImageClassifier:
        """Train the network.

        If anything goes wrong, or on Ctrl-C, the estimator stays as it was; only a fit that
        diverges after some good epochs leaves it as the last of them did.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, d)
            Images: an array, a tensor, a list of arrays or PIL images, a DataFrame of pixels,
            :class:`~skcnn.ImageFiles`, the paths of files as a list, an array, a Series or a
            DataFrame of one column, or a torch ``Dataset`` of (image, label) with ``y=None``.
            Pixels in 0–255 of which some exceed 16 are divided by 255, others are taken as they
            are: numbers count, not their type, and what `fit` does holds for all that come later.
            Files named by paths are resized to `image_size`, without which they must have one size.
        y : array-like of shape (n,)
            Labels of any type.
        sample_weight : array-like of shape (n,), default=None
            Weight of each image in losses and accuracies; only their ratios matter. An image of
            weight k equals k copies of it; an image of weight 0 is ignored.
        X_val, y_val : array-like, default=None
            Images and labels to validate on; none of X is then set aside.

        Returns
        -------
        self : object
            Fitted estimator.

        Raises
        ------
        ValueError
            If a parameter is not allowed, X and y are no labelled images, or `checkpoint_dir` holds
            another fit.
        OSError
            If the file of `weights` cannot be read, or not be downloaded, or what `memory` or
            `checkpoint_dir` keeps not be written; an `ImageFileError` if an image cannot be read.
        DivergenceError
            If a loss, or a weight, becomes NaN or infinite. The estimator then has the weights and
            the history up to the last epoch of this fit in which all were finite; with none, it
            stays as it was.
        MemoryError
            If the device has no memory for a batch, or, with ``on_oom="split"``, for a part of one.

        Warns
        -----
        AdaptedWeightsWarning
            If trained `weights` were changed, or left out in part.
        AmbiguousImageShapeWarning
            If the channel axis could be the first or the last, or flat rows make no square image.
        AnimatedImageWarning
            If files have several frames, of which the first is taken.
        ChanceLevelWarning
            If the network learned no more than which class is the most frequent: neither its
            training accuracy nor its validation accuracy is above that of always predicting it.
        MicroBatchWarning
            If there is no memory for whole batches, with ``on_oom="split"``.
        NoValidationWarning
            If classes have too few images to validate on.
        SeveralSchedulesWarning
            If a callback changes the learning rate by a schedule, and `lr_schedule` does so too.
        SlowPrecisionWarning
            If the device only imitates the `precision`.
        StillImprovingWarning
            If accuracy was still rising, with no sign of overfitting, when `max_epochs` ended a fit
            with early stopping.
        UnsavedStateWarning
            If a callback keeps what `memory` or `checkpoint_dir` cannot.
        UnusedEntryWarning
            If an entry of `memory` or `checkpoint_dir` is damaged, or of another version.
        ValueRangeWarning
            If the pixels of X_val are on another scale than those of X.
        """
        return self._fit(
            X, y, sample_weight, X_val, y_val, continued=self.warm_start and hasattr(self, "net_")
        )

    def partial_fit(
        self, X: Any, y: Any = None, classes: Any = None, sample_weight: Any = None
    ) -> ImageClassifier:
        """Train for one epoch, at the constant rate `lr`, with nothing set aside.

        Training goes on from the weights that predict: after a `fit` with early stopping, those of
        the best epoch. The optimizer goes on from its state after the last step of the last call,
        unless `optimizer` or what is frozen was changed.

        If anything goes wrong, or on Ctrl-C, the estimator stays as it was, but for what callbacks
        of yours noted.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, d)
            Images, as for `fit`. Those of the first call also give the mean and the spread that
            normalise all that come.
        y : array-like of shape (n,)
            Labels.
        classes : array-like of shape (n_classes,), default=None
            All labels that will ever come; needed at the first call, unless y has them all.
        sample_weight : array-like of shape (n,), default=None
            Weight of each image in the loss; None: 1. The first call, or the `fit` before it,
            sets the unit: its weights have mean 1, and those of later calls are on the same scale.

        Returns
        -------
        self : object
            Estimator, trained further.

        Raises
        ------
        ValueError
            If a parameter is not allowed, as ``class_weight="balanced"`` here, X and y are no
            labelled images, or y has a label that is not in `classes_`.
        DivergenceError
            If the loss becomes NaN or infinite.
        """
        return self._fit(
            X,
            y,
            sample_weight,
            continued=hasattr(self, "net_"),
            incremental=True,
            classes=classes,
        )

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        X_val: Any = None,
        y_val: Any = None,
        *,
        continued: bool,
        incremental: bool = False,
        classes: Any = None,
    ) -> ImageClassifier:
        with self._unchanged_on_error():
            self._check_parameters()
            if incremental:
                self._check_incremental()
            if self.data_parallel:
                from skcnn.training import data_parallel

                accelerator, device = data_parallel.join_processes(self.device, self._name)
            else:
                accelerator, device = None, resolve_device(self.device, self._name)
            if self.precision == "bfloat16" and not has_bfloat16(device):
                warn_caller(
                    f"The 'precision' parameter of {self._name} is 'bfloat16', which the device "
                    f"'{device}' only imitates: training will be slow. Use precision='auto', "
                    "which takes what is fastest.",
                    SlowPrecisionWarning,
                )
            seeds = check_random_state(self.random_state).randint(np.iinfo(np.int32).max, size=2)
            if accelerator is not None:
                seeds = data_parallel.of_main_process(seeds)
            seeds = tuple(map(int, seeds))
            store = None if continued or incremental else open_store(self.memory, self._name)
            kept_in = None if store is None else "memory"
            if self.checkpoint_dir is not None and not incremental:
                kept_in = "checkpoint_dir"

            if continued:
                self._check_same_network(self._settings)
            self._settings = self._network_settings()
            trained = None
            if self.weights is not None and not continued:
                trained = read_weights(self.weights, self._torchvision_name(), self._name)
            data = self._check_data(
                (X, y, sample_weight, X_val, y_val),
                continued=continued,
                incremental=incremental,
                classes=classes,
                kept_in=kept_in,
            )

            plan = self._plan(data, incremental)
            n_epochs_before = self.n_epochs_ if continued else 0
            with contextlib.ExitStack() as stack:
                stack.enter_context(cpu_threads(self.n_threads))
                journal = None
                if kept_in is not None:
                    given = {**data.named, "weights": trained}
                    start = partial(self._describe_start, trained, device, continued)
                    fit = identify_fit(self, plan, device, given, start(), seeds, kept_in)
                    journal = stack.enter_context(self._open_journal(store, fit))
                    seeds = journal.seeds  # of its first start
                split_seed, seed = seeds
                if not continued or self._split_seed is None:
                    self._split_seed = split_seed
                rows, held_out = self._split(data, plan.early_stopping)
                if not (continued and incremental):
                    self._weight_unit = rows.mean_weight
                training = _labelled(data.images, rows, self._weight_unit)
                validation = data.validation
                if held_out is not None:
                    validation = _labelled(data.images, held_out)
                if accelerator is not None:
                    data_parallel.check_shares(
                        accelerator, data.name, len(training), plan.batch_size, self._name
                    )
                stack.enter_context(seeded_generators((seed + n_epochs_before) % 2**32, device))
                if continued:
                    module = copy.deepcopy(self.module_)
                    preprocessing = self.net_.preprocessing
                else:
                    module, statistics = self._start_module(trained)
                    if self.normalize and statistics is None:
                        statistics = data.scan.mean_and_std(rows.index, rows.weights)
                    preprocessing = partial(
                        Preprocessing,
                        self.input_size_,
                        *(statistics or ()),
                        divisor=data.scan.scale.divisor,
                    )
                self._freeze(module, continued)
                net = self._make_training_net(
                    module,
                    preprocessing,
                    device,
                    training,
                    validation,
                    plan,
                    incremental,
                    accelerator,
                )
                if continued and incremental:
                    _carry_over_optimizer(self.net_, net)
                diverged = _train(net, training, journal, n_epochs_before)
                if accelerator is not None:
                    net = net.alone()
            self._keep(net, self.history_ if continued else [], diverged is not None)
        if diverged is not None:
            raise diverged
        if not incremental and (accelerator is None or accelerator.is_main_process):
            self._warn_about_outcome(training, validation)
        return self

    def _open_journal(
        self, store: FitStore | None, fit: FitIdentity
    ) -> contextlib.AbstractContextManager[FileJournal]:
        """Where the fit is kept: in the store of `memory`, or else in `checkpoint_dir`."""
        if store is not None:
            return contextlib.nullcontext(store.fit(fit))
        return open_checkpoint(self.checkpoint_dir, fit, self._name)

    def _check_data(
        self,
        given: tuple,
        *,
        continued: bool,
        incremental: bool,
        classes: Any,
        kept_in: str | None,
    ) -> _FitData:
        """Check all that a fit is given; unless `continued`, set what it defines."""
        X, y, sample_weight, X_val, y_val = given
        images = self._check_images(X, reset=not continued)
        y = dataset_labels(X) if y is None and is_dataset(X) else y
        targets = self._check_targets(y, len(images), continued, classes)
        weights = check_weights(sample_weight, len(images))
        fitted = self._pixel_scale if continued else None
        scan = self._scan(images, "X", kept_in, fitted)
        images = images.divided_by(scan.scale.divisor)
        self._pixel_scale = scan.scale if fitted is None else fitted.joined(scan.scale)
        # A Dataset may give other pixels each time: its rows keep the order that they have.
        keys = scan.keys if isinstance(images, ArrayImages) else np.arange(len(images))
        class_weights = check_class_weights(
            self.class_weight, self.classes_, targets, weights, self._name
        )
        rows = canonical_rows(keys, targets, weights, class_weights)
        self._check_several_classes(self.classes_ if incremental else np.unique(rows.targets))
        validation = digest = None
        if X_val is not None or y_val is not None:
            validation, digest = self._check_validation_data(X_val, y_val, class_weights, kept_in)
        named = {
            "images": scan.digest,
            "classes": self.classes_.tolist(),
            "labels": targets,
            "sample_weight": relative_weights(weights),
            "X_val": digest,
            "y_val": validation and validation.targets,
        }
        return _FitData(images, rows, validation, scan, named)

    def _plan(self, data: _FitData, incremental: bool) -> TrainingPlan:
        """Batch size, epochs and stopping, which follow the data where they are "auto"."""
        plan = plan_training(
            len(data.rows.index),
            batch_size=self.batch_size,
            max_epochs=self.max_epochs,
            early_stopping=self.early_stopping,
            patience=self.patience,
            has_validation_data=data.validation is not None,
        )
        return plan._replace(max_epochs=1, early_stopping=False) if incremental else plan

    def _split(self, data: _FitData, early_stopping: bool) -> tuple[Rows, Rows | None]:
        """Rows to train on, and those set aside to validate, if any are to be."""
        if data.validation is not None or not early_stopping:
            return data.rows, None
        return hold_out(data.rows, self.validation_fraction, self._split_seed)

    def _scan(
        self, images: Images, name: str, kept_in: str | None, fitted: PixelScale | None
    ) -> ImageScan:
        """Look at all pixels; compute their digest where the data must have a name."""
        if kept_in is not None and not isinstance(images, ArrayImages):
            raise ValueError(
                f"The {kept_in!r} parameter of {self._name} must be None where {name} is a torch "
                f"Dataset, which may give other pixels each time; got {getattr(self, kept_in)!r} "
                "instead. Pass its images as an array."
            )
        digest = kept_in is not None or self.data_parallel
        return scan_images(images, name, fitted=fitted, digest=digest)

    def _start_module(
        self, trained: TrainedWeights | None
    ) -> tuple[nn.Module, tuple[np.ndarray, np.ndarray] | None]:
        """Network to train, and the mean and spread of the images that its weights go with."""
        state = None if trained is None else trained.state
        self._arguments = self._network_arguments(self.image_shape_, len(self.classes_), state)
        self.input_size_ = self._arguments["input_size"]
        module = self._build_network(**self._arguments)
        if self.features_layer is not None:
            self._check_features_layer(module)
        statistics = IMAGENET_STATISTICS if self.normalize == "imagenet" else None
        if trained is not None:
            adapted = load_weights(module, trained.state, self._find_head(module), self._name)
            if adapted:
                warn_caller(
                    f"The weights were adapted to the network. {'; '.join(adapted)}.",
                    AdaptedWeightsWarning,
                )
            if self.normalize and statistics is None:
                statistics = trained.statistics
        return module, statistics and for_channels(statistics, self.image_shape_[0])

    def _describe_start(
        self, trained: TrainedWeights | None, device: torch.device, continued: bool
    ) -> Any:
        """Make what tells the network that a fit starts from, weights and code, from any other."""
        if continued:
            classes = [type(layer) for layer in self.module_.modules()]
            return [classes, self.module_.state_dict(), self.n_epochs_]
        state = None if trained is None else trained.state
        with seeded_generators(0, device):  # for fits without a seed, too
            arguments = self._network_arguments(self.image_shape_, len(self.classes_), state)
            return self._build_network(**arguments)

    def _freeze(self, module: nn.Module, continued: bool) -> None:
        """Freeze what `freeze` says, after letting go of what this network's last fit froze."""
        for name in self._frozen.parameters if continued else ():
            module.get_parameter(name).requires_grad_(True)
        self._frozen = Frozen([], [])
        if self.freeze is not None:
            self._frozen = set_frozen(module, self.freeze, self._find_head(module), self._name)

    @contextlib.contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """Put all attributes back if the block fails or is interrupted."""
        before = self.__dict__.copy()
        generator = self.random_state if isinstance(self.random_state, RandomState) else None
        drawn = generator and generator.get_state()
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            if generator is not None:
                generator.set_state(drawn)
            raise

    def _make_training_net(
        self,
        module: nn.Module,
        preprocessing: Callable[[], Preprocessing],
        device: torch.device,
        training: LabelledImages,
        validation: LabelledImages | None,
        plan: TrainingPlan,
        incremental: bool,
        accelerator: Any,
    ) -> ImageClassifierNet:
        make_net, share = ImageClassifierNet, (0, 1)
        if accelerator is not None:
            from skcnn.training.data_parallel import DataParallelNet, share_of

            make_net = partial(DataParallelNet, accelerator=accelerator)
            share = share_of(accelerator)
        verbose = self.verbose if share[0] == 0 else 0
        if self.lr == "auto":
            lr = default_lr(self.optimizer, module, is_trained=self.weights is not None)
        else:
            lr = float(self.lr)
        callbacks = training_callbacks(
            max_epochs=plan.max_epochs,
            early_stopping=plan.early_stopping and validation is not None,
            patience=plan.patience,
            lr_schedule=None if incremental else self.lr_schedule,
            lr=lr,
            steps_per_epoch=len(
                BatchIterator(training, plan.batch_size, shuffle=True, share=share)
            ),
            progress_bar=verbose == 1,
        )
        return self._make_net(
            module,
            preprocessing,
            device,
            make_net,
            lr=lr,
            batch_size=plan.batch_size,
            max_epochs=plan.max_epochs,
            average_decay=None if incremental else self.ema,
            train_split=None if validation is None else predefined_split(validation),
            callbacks=[*callbacks, *(self.callbacks or ())],
            verbose=int(verbose > 1),
        )

    def _make_net(
        self,
        module: nn.Module,
        preprocessing: Callable[[], Preprocessing],
        device: torch.device,
        make_net: Callable[..., ImageClassifierNet] = ImageClassifierNet,
        **of_training: Any,
    ) -> ImageClassifierNet:
        """Net that predicts with `module`, and trains it if it is told the rest."""
        optimizer, settings = optimizer_settings(
            self.optimizer, momentum=self.momentum, weight_decay=self.weight_decay, device=device
        )
        crop, augment = resolve_augmentation(self.augment)
        net = make_net(
            module,
            preprocessing=preprocessing,
            augment=augment,
            crop=crop,
            mixing=make_mixing(self.mixing, len(self.classes_)),
            precision=self.precision,
            deterministic=self.deterministic,
            max_grad_norm=self.max_grad_norm,
            split_on_oom=self.on_oom == "split",
            keep_on_host=self.data_device == "cpu",
            compile_training=self.compile,
            held=self._frozen.norms,
            raw_size=self.image_shape_[1:],
            criterion=nn.CrossEntropyLoss,
            criterion__reduction="none",
            criterion__label_smoothing=self.label_smoothing,
            optimizer=optimizer,
            **{f"optimizer__{name}": value for name, value in settings.items()},
            classes=np.arange(len(self.classes_)),
            device=device,
            **of_training,
        )
        return net.initialize()

    def _keep(self, net: ImageClassifierNet, earlier: list[dict], diverged: bool) -> None:
        """Set the fitted attributes, and let go of what only training needed.

        A fit that `diverged` has the weights of its last good epoch, and not those of its best.
        """
        net.train_split = None  # it holds the validation images
        new = [
            {
                name: value
                for name, value in epoch.items()
                if name != "batches" and not name.endswith(("_batch_count", "_best"))
            }
            for epoch in net.history
        ]
        n_before = len(earlier)
        for epoch in new:
            epoch["epoch"] += n_before
        stopping = dict(net.callbacks_).get("early_stopping")
        best_epoch = len(new)
        if isinstance(stopping, AccuracyEarlyStopping):
            best_epoch = best_epoch if diverged else stopping.best_epoch_
        self.net_ = net
        self.lr_, self.batch_size_, self.max_epochs_ = net.lr, net.batch_size, net.max_epochs
        self.history_ = [*earlier, *new]
        self.n_epochs_ = len(self.history_)
        self.best_epoch_ = n_before + best_epoch
        self.precision_, self.memory_format_ = net.arithmetic_

    def _warn_about_outcome(
        self, training: LabelledImages, validation: LabelledImages | None
    ) -> None:
        """Warn of a fit that went wrong, though it ended."""
        net = self.net_
        n_before = self.n_epochs_ - len(net.history)
        levels = (
            data and ChanceLevel.of(data.targets, data.weights) for data in (training, validation)
        )
        for message, category in outcome_warnings(
            self.history_[n_before:],
            *levels,
            best_epoch=self.best_epoch_ - n_before,
            max_epochs=net.max_epochs,
            # A number of epochs that the user did not choose is not to be raised.
            early_stopping=bool(self.early_stopping) and self.max_epochs != "auto",
            mixing=self.mixing is not None,
            lr=net.lr,
            batch_size=net.batch_size,
            n_steps=sum(net.history[:, "train_batch_count"]),
            lacks_norm=getattr(self, "norm", "batch") is None,
            is_frozen=self.freeze is not None,
        ):
            warn_caller(message, category)

    # Checks of what comes in -------------------------------------------------------------------

    def _check_targets(
        self,
        y: Any,
        n_images: int,
        continued: bool = True,
        classes: Any = None,
        name: str = "y",
    ) -> np.ndarray:
        """Class index of every label; unless `continued`, sets `classes_`."""
        y = check_labels(y, n_images, self._name, name)
        if not continued:
            self.classes_ = np.unique(y if classes is None else self._check_classes(classes))
        elif classes is not None and (
            np.unique(self._check_classes(classes)).tolist() != self.classes_.tolist()
        ):
            raise ValueError(
                f"The 'classes' parameter of partial_fit must be that of the first call, "
                f"{self.classes_}; got {classes} instead."
            )
        return encode_labels(y, self.classes_, self._name, name)

    def _check_incremental(self) -> None:
        if self.class_weight == "balanced":
            raise ValueError(
                f"The 'class_weight' parameter of {self._name} must be a dict or None for "
                "partial_fit, which does not know how many images of each class will come; got "
                "'balanced' instead. Compute the weights from all labels, or from enough of them: "
                "weights = compute_class_weight('balanced', classes=classes, y=y), and "
                "class_weight=dict(zip(classes, weights))."
            )

    def _check_classes(self, classes: Any) -> np.ndarray:
        return check_labels(classes, None, self._name, "classes")

    def _check_several_classes(self, classes: np.ndarray) -> None:
        if len(classes) < 2:
            raise ValueError(
                f"{self._name} must have images of at least 2 classes to learn from; got 1 class "
                "instead, counting images of positive sample weight."
            )

    def _check_validation_data(
        self, X_val: Any, y_val: Any, class_weights: np.ndarray | None, kept_in: str | None
    ) -> tuple[LabelledImages, str | None]:
        """Images to validate on, and the digest of their pixels."""
        if X_val is None or (y_val is None and not is_dataset(X_val)):
            missing = "X_val" if X_val is None else "y_val"
            raise ValueError(f"X_val and y_val must be given together; got {missing}=None instead.")
        images = self._check_images(X_val, name="X_val")
        y_val = dataset_labels(X_val) if y_val is None else y_val
        targets = self._check_targets(y_val, len(images), name="y_val")
        scan = self._scan(images, "X_val", kept_in, self._pixel_scale)
        if class_weights is not None and not class_weights[targets].any():
            raise ValueError(
                f"The 'class_weight' parameter of {self._name} must have a positive weight for "
                f"some image of X_val; got {self.class_weight!r} instead."
            )
        rows = canonical_rows(np.arange(len(images)), targets, None, class_weights)
        return _labelled(images, rows), scan.digest

    def __sklearn_tags__(self):
        """Tags of scikit-learn: images are welcome beside flat rows."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags


class _FitData(NamedTuple):
    """What a fit is given, checked."""

    images: Images
    rows: Rows
    validation: LabelledImages | None  # that was given
    scan: ImageScan
    named: dict[str, Any]  # what tells it apart from other data

    @property
    def name(self) -> str:
        """Equal for equal data; only where their digest was computed."""
        return fingerprint(self.named)


def _labelled(images: Images, rows: Rows, unit: float | None = None) -> LabelledImages:
    """Rows of `images`; see `Rows.loss_weights`."""
    return LabelledImages(images, rows.index, rows.targets, rows.loss_weights(unit))


def _train(
    net: ImageClassifierNet, training: LabelledImages, journal: FileJournal | None, n_before: int
) -> DivergenceError | None:
    """Train; give the error of a fit that diverged after good epochs, which are to be kept."""
    try:
        net.partial_fit(training, journal=journal)
    except DivergenceError as error:
        error.epoch += n_before
        if error.n_good_epochs == 0:
            raise
        return error
    return None


def _carry_over_optimizer(old: ImageClassifierNet, new: ImageClassifierNet) -> None:
    """Let the optimizer of `new` go on where that of `old` was, at its own learning rate.

    Unless others are frozen now: it would know nothing of some parameters.
    """
    trained = ([p.requires_grad for p in net.module_.parameters()] for net in (old, new))
    if type(old.optimizer_) is type(new.optimizer_) and next(trained) == next(trained):
        state = copy.deepcopy(old.optimizer_.state_dict())  # which training changes in place
        state["param_groups"] = new.optimizer_.state_dict()["param_groups"]
        new.optimizer_.load_state_dict(state)
