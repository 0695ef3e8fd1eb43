"""One network trained by several processes, each of which takes its share of every batch.

Processes are started and joined by Hugging Face accelerate, which must be installed; nothing else
of the package imports this file, but where it is used.
"""

from __future__ import annotations

import os
from typing import Any, TypeVar

import numpy as np
import torch
from skorch.hf import AccelerateMixin
from torch import Tensor, nn

from skcnn.training.callbacks import EpochAccuracy
from skcnn.training.devices import resolve_device
from skcnn.training.net import ImageClassifierNet, main_output
from skcnn.training.reproducibility import seed_generators

T = TypeVar("T")
Accelerator = Any  # accelerate's, which is imported where it is used


def join_processes(
    device: str | torch.device, estimator: str
) -> tuple[Accelerator | None, torch.device]:
    """Join the processes that ``accelerate launch`` or ``torchrun`` started.

    Parameters
    ----------
    device : str or torch.device
        As the estimator has it. Each process has a GPU of its own, or all compute on the CPU.
    estimator : str
        Its name, for errors.

    Returns
    -------
    accelerator : accelerate.Accelerator or None
        None where there is one process alone.
    device : torch.device
        Of this process.

    Raises
    ------
    ImportError
        If accelerate is missing.
    ValueError
        If `device` is one for all processes, or they were not joined as one group for it.
    """
    try:
        from accelerate import Accelerator
        from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin
    except ImportError as error:
        raise ImportError(
            f"The 'data_parallel' parameter of {estimator} requires accelerate, which is not "
            "installed. Remedy: pip install 'skcnn[distributed]'"
        ) from error
    resolved = resolve_device(device, estimator)
    on_gpu = resolved.type == "cuda"
    accelerator = Accelerator(
        cpu=not on_gpu,
        # All of this is the net's own business, whatever the launcher was told.
        device_placement=False,
        mixed_precision="no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        # A static graph may have parameters that never get a gradient.
        kwargs_handlers=[DistributedDataParallelKwargs(static_graph=True)],
    )
    n_started = int(os.environ.get("WORLD_SIZE", 1))
    if accelerator.num_processes != n_started:
        raise ValueError(
            f"The 'data_parallel' parameter of {estimator} needs the {n_started} processes that "
            f"were started to be one group; got {accelerator.num_processes} in it instead. Make no "
            "Accelerator or PartialState before fit, or on the CPU with cpu=True."
        )
    if n_started == 1:
        return None, resolved
    if str(device) not in ("auto", "cpu", "cuda"):
        raise ValueError(
            f"The 'device' parameter of {estimator} must be 'auto', 'cpu' or 'cuda' where "
            f"data_parallel=True gives each of {n_started} processes a device of its own; got "
            f"{device!r} instead."
        )
    return accelerator, accelerator.device if on_gpu else torch.device("cpu")


def of_main_process(value: T) -> T:
    """Value that process 0 has."""
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0]


def check_shares(
    accelerator: Accelerator,
    data_name: str,
    n_images: int,
    batch_size: int,
    estimator: str,
) -> None:
    """Refuse what cannot be shared out: too few rows, or data that differ by process.

    Parameters
    ----------
    accelerator : accelerate.Accelerator
    data_name : str
        Equal for equal data.
    n_images : int
        Images to train on.
    batch_size : int
    estimator : str
        Its name, for errors.
    """
    from accelerate.utils import gather_object

    n_processes = accelerator.num_processes
    if len(set(gather_object([data_name]))) > 1:
        raise ValueError(
            f"X, y, sample_weight, X_val and y_val must be the same in all {n_processes} processes "
            "of data_parallel=True; got different ones instead. Load all images, in the same way, "
            "in each process: fit gives each its share of every batch."
        )
    if batch_size < n_processes:
        raise ValueError(
            f"The 'batch_size' parameter of {estimator} must be at least {n_processes}, the number "
            f"of processes among which data_parallel=True shares each batch; got {batch_size} "
            "instead. Raise it, or start fewer processes."
        )
    if n_images < n_processes:
        raise ValueError(
            f"{estimator} with data_parallel=True must have an image to train on for each of "
            f"{n_processes} processes; got {n_images} instead. Start fewer processes."
        )


class _MainOutput(nn.Module):
    """Network without its auxiliary outputs, for whose gradients the processes would wait."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return main_output(self.module(*args, **kwargs))


class DataParallelNet(AccelerateMixin, ImageClassifierNet):
    """Net that trains on its share of each batch, in step with those of the other processes.

    The processes' gradients are averaged (torch's DistributedDataParallel), and their losses are
    scaled so that the average is the gradient of the mean over the whole batch, also where shares
    are uneven. What the history tells is of whole batches. All draw the same order of the images,
    and numbers of their own for dropout and augmentation. Validation is not shared: what callbacks
    compute from it is then the same everywhere.

    Unlike other nets of skorch's mixin, ``module_`` is the bare network at all times: only its
    calls in training go through the accelerator.

    Parameters
    ----------
    *args
        Of :class:`ImageClassifierNet`.
    accelerator : accelerate.Accelerator
        Made with ``device_placement=False``.
    **kwargs
        Of :class:`ImageClassifierNet`.
    """

    def __init__(self, *args: Any, accelerator: Accelerator, **kwargs: Any):
        # Only the main process is verbose; a plain print can be pickled.
        kwargs["callbacks__print_log__sink"] = print
        super().__init__(*args, accelerator=accelerator, **kwargs)

    @property
    def _share(self) -> tuple[int, int]:
        return share_of(self.accelerator)

    def _initialize_accelerator(self) -> DataParallelNet:
        """Leave the network as it is: see `_make_stand_in`."""
        return self

    def _make_stand_in(self) -> Any:
        """Make what averages the gradients; first, it gives all the weights of process 0."""
        parallel = self.accelerator.prepare_model(_MainOutput(self.module_))
        parallel.broadcast_buffers = False  # not for each batch: see run_single_epoch
        return (torch.compile(parallel) if self.compile_training else parallel).__call__

    def fit_loop(
        self, X: Any, y: Any = None, epochs: int | None = None, **fit_params: Any
    ) -> DataParallelNet:
        """Train and validate, in orders that all processes agree upon."""
        # Of a net that trains alone, this is the generator that draws the orders.
        state = torch.get_rng_state()
        state = of_main_process(state)
        self._order = torch.Generator()
        self._order.set_state(state)
        if not self.accelerator.is_main_process:
            seed = (torch.initial_seed() % 2**32, self.accelerator.process_index)
            seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
            seed_generators(seed, torch.device(self.device))
        return super().fit_loop(X, y, epochs, **fit_params)

    def _choose_arithmetic(self, training: Any) -> None:
        """Choose for the processor of process 0: those of others may be of other kinds."""
        super()._choose_arithmetic(training)
        self.arithmetic_ = of_main_process(self.arithmetic_)

    def run_single_epoch(self, iterator: Any, training: bool, *args: Any, **kwargs: Any) -> None:
        """Run over all batches; before validation, agree on running statistics."""
        if not training:
            # Each process has those of its shares. In double precision, constants stay the same.
            for buffer in self.module_.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(self.accelerator.reduce(buffer.double(), "mean"))
        super().run_single_epoch(iterator, training, *args, **kwargs)

    # The mixin's own knows neither preprocessing nor weights.
    train_step_single = ImageClassifierNet.train_step_single
    evaluation_step = ImageClassifierNet.evaluation_step

    def _backward(self, loss: Tensor, batch: Any) -> Tensor:
        """Scale the loss of a share: the processes' average is then that of the whole batch."""
        _, n_processes = self._share
        loss = loss * (n_processes * len(batch[1]) / batch.n_rows)
        self.accelerator.backward(loss)
        return loss

    def _ends(self) -> bool:
        stop = torch.tensor(float(self.stop_), device=self.device)
        self.stop_ = self.accelerator.reduce(stop, "sum").item() > 0
        return self.stop_

    def _of_all(self, losses: Tensor) -> Tensor:
        return self.accelerator.reduce(losses, "mean")

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Add up what the processes have counted, before callbacks hear of the end."""
        super().on_epoch_end(net, **kwargs)
        for _, callback in self.callbacks_:
            if isinstance(callback, EpochAccuracy):
                names, sums = zip(*callback.sums_.items(), strict=True)
                sums = torch.tensor(
                    [[float(value) for value in pair] for pair in sums],
                    dtype=torch.float64,
                    device=self.device,
                )
                sums = self.accelerator.reduce(sums, "sum").tolist()
                callback.sums_ = dict(zip(names, sums, strict=True))

    def alone(self) -> ImageClassifierNet:
        """Net with all that was learned, that needs no other process: it predicts, and pickles."""
        net = ImageClassifierNet.__new__(ImageClassifierNet)
        of_processes = {"accelerator", "unwrap_after_train", "_wrapped_with_accelerator", "_order"}
        vars(net).update(
            (name, value) for name, value in vars(self).items() if name not in of_processes
        )
        return net


def share_of(accelerator: Accelerator) -> tuple[int, int]:
    """Which share of each batch this process takes, of how many."""
    return accelerator.process_index, accelerator.num_processes
