"""
What BatchNorm does
===================

Batch normalisation (Ioffe and Szegedy 2015, :arxiv:`1502.03167`) keeps what comes into a
nonlinearity at a mean and a spread that are learned, whatever the layers before it do. Here it is
written from its formulas, checked against torch's, and LeNet is trained with it and without it at
several learning rates.

Options: ``--quick`` makes a run of seconds, and ``--output`` names the folder for the pictures.
"""

# %%
# The formulas
# ------------
# A batch has :math:`m` values of each feature: one for every image, or for every image and pixel
# where the features are the channels of a feature map. In training they are normalised by their
# own mean and variance, then scaled and shifted by what is learned, :math:`\gamma` and
# :math:`\beta`:
#
# .. math::
#
#    \mu = \frac{1}{m} \sum_i x_i, \qquad
#    \sigma^2 = \frac{1}{m} \sum_i (x_i - \mu)^2, \qquad
#    y_i = \gamma \, \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta
#
# In evaluation an image must not depend on those beside it, so running averages take the place of
# :math:`\mu` and :math:`\sigma^2`. Each step moves them by a tenth (torch's momentum of 0.1; other
# texts call that 0.9, the share of the old value), and the running variance is of the unbiased
# kind:
#
# .. math::
#
#    \mu_\text{run} \leftarrow 0.9 \, \mu_\text{run} + 0.1 \, \mu, \qquad
#    \sigma^2_\text{run} \leftarrow
#    0.9 \, \sigma^2_\text{run} + 0.1 \, \frac{m}{m - 1} \, \sigma^2

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.ticker import MaxNLocator
from skorch.callbacks import Callback
from torch import nn

from skcnn import LeNetClassifier
from skcnn.datasets import load_fashion_mnist_mini
from skcnn.exceptions import DivergenceError

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="a run of seconds, for a look")
parser.add_argument("--output", type=Path, default=Path("results/batchnorm"))
args = parser.parse_args()


class BatchNorm(nn.Module):
    """Batch normalisation of features (n, n_features) or feature maps (n, n_features, H, W).

    The mean and the variance depend on the input too: autograd goes through them, which gives the
    gradients of the paper.
    """

    def __init__(self, n_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.gamma = nn.Parameter(torch.ones(n_features))
        self.beta = nn.Parameter(torch.zeros(n_features))
        self.register_buffer("running_mean", torch.zeros(n_features))
        self.register_buffer("running_var", torch.ones(n_features))

    def forward(self, x):
        per_feature = (-1, *[1] * (x.ndim - 2))  # to shape (n_features,) or (n_features, 1, 1)
        if self.training:
            m = x.numel() // x.shape[1]
            others = [axis for axis in range(x.ndim) if axis != 1]
            mean = x.mean(others)
            var = (x - mean.view(per_feature)).square().mean(others)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var * m / (m - 1), self.momentum)
        else:
            mean, var = self.running_mean, self.running_var
        scale = self.gamma / (var + self.eps).sqrt()
        return (x - mean.view(per_feature)) * scale.view(per_feature) + self.beta.view(per_feature)


# %%
# The check
# ---------
# In float64, against torch's: steps of training on batches that drift, with an optimizer that
# changes :math:`\gamma` and :math:`\beta`, then one batch in evaluation. For every quantity, the
# largest difference at any step.


def compare(reference, shape, n_steps=20):
    """Compare `BatchNorm` with torch's `reference`, on random batches of `shape`."""
    generator = torch.Generator().manual_seed(0)

    def random():
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    ours = BatchNorm(shape[1]).double()
    theirs = reference(shape[1]).double()
    layers = {
        ours: torch.optim.SGD(ours.parameters(), lr=1e-2),
        theirs: torch.optim.SGD(theirs.parameters(), lr=1e-2),
    }
    differences = {}
    for step in range(n_steps + 1):
        mode = "training" if step < n_steps else "evaluation"
        batch, output_gradient = 2 * random() + 0.1 * step, random()
        seen = []
        for layer, optimizer in layers.items():
            layer.train(mode == "training")
            x = batch.clone().requires_grad_()
            y = layer(x)
            optimizer.zero_grad()
            y.backward(output_gradient)
            gamma, beta = layer.parameters()
            seen.append(
                {
                    "output": y.detach(),
                    "running mean": layer.running_mean.clone(),
                    "running var": layer.running_var.clone(),
                    "∂/∂x": x.grad,
                    "∂/∂γ": gamma.grad.clone(),
                    "∂/∂β": beta.grad.clone(),
                }
            )
            optimizer.step()
        largest = differences.setdefault((f"{reference.__name__} {shape}", mode), {})
        for name, value in seen[0].items():
            difference = float((value - seen[1][name]).abs().max())
            largest[name] = max(difference, largest.get(name, 0.0))
    return differences


check = compare(nn.BatchNorm1d, (64, 10)) | compare(nn.BatchNorm2d, (16, 6, 7, 7))
differences = pd.DataFrame.from_dict(check, orient="index")
print("largest absolute difference from torch:")
print(differences.to_string(float_format="{:.0e}".format))
assert differences.to_numpy().max() < 1e-12

# %%
# LeNet with it and without it
# ----------------------------
# The same weights to start from, the same batches in the same order, plain SGD with momentum, and
# learning rates from timid to reckless.
#
# A fit whose loss is no longer a number raises `DivergenceError`; what it reached before counts for
# nothing here. A callback sees everything as it happens. It also notes what comes into
# the last nonlinearity, batch by batch, for the end of this page.


class Diary(Callback):
    """Validation accuracy by epoch, and percentiles of the last nonlinearity's input by step."""

    def __init__(self):
        self.accuracies = []
        self.percentiles = []

    def on_train_begin(self, net, **kwargs):
        nonlinearities = [m for m in net.module_.modules() if isinstance(m, nn.ReLU)]
        self.hook = nonlinearities[-1].register_forward_pre_hook(self.note_input)

    def note_input(self, nonlinearity, inputs):
        if nonlinearity.training:
            shares = torch.tensor([0.15, 0.5, 0.85])
            self.percentiles.append(torch.quantile(inputs[0].detach().float(), shares).numpy())

    def on_epoch_end(self, net, **kwargs):
        self.accuracies.append(net.history[-1, "valid_acc"])

    def on_train_end(self, net, **kwargs):
        self.hook.remove()


X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
X_test, y_test = load_fashion_mnist_mini(subset="test", return_X_y=True)
n_train, n_val = (800, 200) if args.quick else (4000, 1000)
X_train, y_train = X[:n_train], y[:n_train]
X_val, y_val = X[n_train : n_train + n_val], y[n_train : n_train + n_val]
max_epochs = 2 if args.quick else 10
learning_rates = [0.1, 30.0] if args.quick else [0.001, 0.01, 0.1, 0.5, 3.0]
variants = {"without": None, "with": "batch"}

diaries, test_accuracies = {}, {}
for lr in learning_rates:
    for variant, norm in variants.items():
        diary = diaries[lr, variant] = Diary()
        clf = LeNetClassifier(
            norm=norm,
            lr=lr,
            optimizer="sgd",
            momentum=0.9,
            lr_schedule=None,
            label_smoothing=0.0,
            batch_size=64,
            max_epochs=max_epochs,
            early_stopping=False,
            device="cpu",
            callbacks=[diary],
            random_state=0,
        )
        try:
            clf.fit(X_train, y_train, X_val=X_val, y_val=y_val)
        except DivergenceError as error:
            print(f"lr={lr:g}, {variant} batch normalisation: {error}")
        else:
            test_accuracies[lr, variant] = clf.score(X_test, y_test)

# %%
# Faster, and at rates that it could not bear
# -------------------------------------------
# How accurate after the last epoch, and how many epochs it took to get three quarters right on the
# validation images. An accuracy of 0.1 is that of guessing. Batch normalisation bears higher rates,
# not all.

TARGET = 0.75


def epochs_to_target(accuracies):
    """Number of epochs until an accuracy of `TARGET` was first reached."""
    reached = np.flatnonzero(np.array(accuracies) >= TARGET)
    return str(reached[0] + 1) if reached.size else "never"


table = {}
for (lr, variant), diary in diaries.items():
    accuracy = test_accuracies.get((lr, variant))
    row = table.setdefault(f"{lr:g}", {})
    row["test accuracy", variant] = "diverged" if accuracy is None else f"{accuracy:.3f}"
    row[f"epochs to {TARGET:.0%} in validation", variant] = epochs_to_target(diary.accuracies)
table = pd.DataFrame.from_dict(table, orient="index").sort_index(axis=1, ascending=False)
print(table.rename_axis("lr").to_string())

# %%
# The same, epoch by epoch.

args.output.mkdir(parents=True, exist_ok=True)
COLORS = {"without": "C1", "with": "C0"}


def save(figure, name):
    path = args.output / f"{name}.png"
    figure.savefig(path, dpi=120)
    print(f"wrote {path}")


figure, axes = plt.subplots(
    1, len(learning_rates), figsize=(11, 3.2), sharey=True, layout="constrained"
)
for ax, lr in zip(axes, learning_rates, strict=True):
    ax.axhline(0.1, color="0.6", linestyle=":", linewidth=1)
    for variant, color in COLORS.items():
        accuracies = diaries[lr, variant].accuracies
        epochs = range(1, len(accuracies) + 1)
        label = f"{variant} batch normalisation"
        ax.plot(epochs, accuracies, color=color, marker="o", markersize=3, label=label)
        if (lr, variant) not in test_accuracies:
            ax.text(
                (max_epochs + 1) / 2,
                0.5,
                f"{variant}:\ndiverged in epoch {len(accuracies) + 1}",
                color=color,
                ha="center",
                va="center",
            )
    ax.set(title=f"lr = {lr:g}", xlabel="epoch", xlim=(0.5, max_epochs + 0.5), ylim=(0, 1))
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.grid(alpha=0.3)
axes[0].set_ylabel("validation accuracy")
axes[0].annotate("guessing", (max_epochs + 0.4, 0.09), ha="right", va="top", color="0.4", size=8)
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
save(figure, "accuracy_per_epoch")

# %%
# What comes into the last nonlinearity
# -------------------------------------
# The 15th, 50th and 85th percentile over all its units, batch by batch, at one learning rate. The
# paper draws the same. Without batch normalisation they move with every change of the layers
# before; with it they hardly do.

LR = 0.1

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
for ax, (variant, color) in zip(axes, COLORS.items(), strict=True):
    percentiles = np.array(diaries[LR, variant].percentiles)
    steps = np.arange(1, len(percentiles) + 1)
    ax.fill_between(steps, percentiles[:, 0], percentiles[:, 2], color=color, alpha=0.3)
    ax.plot(steps, percentiles[:, 1], color=color)
    for name, value in zip(["15%", "50%", "85%"], percentiles[-1], strict=True):
        ax.annotate(name, (1.01, value), xycoords=("axes fraction", "data"), va="center")
    ax.set(title=f"{variant} batch normalisation", xlabel=f"training step, at lr = {LR:g}")
    ax.margins(x=0)
    ax.grid(alpha=0.3)
axes[0].set_ylabel("input of the last ReLU")
save(figure, "inputs_of_last_relu")
