"""How far predictions differ between batches of different numbers of rows, and what each costs.

For each network and number of rows: the largest difference of a class probability from a batch of
256, over 64 images of Fashion-MNIST, whether any bit differs, and the median time of one batch;
random weights. Then, for requests of few images, what ``predict_proba`` of a ResNet-18 takes, in
units of a bare forward pass of its network.

    python examples/benchmarks/prediction_batches.py
"""

import statistics
import time

import numpy as np
import torch
from _report import describe_machine, write_json
from torchvision.models import resnet18

from skcnn import ResNetClassifier
from skcnn.datasets import load_fashion_mnist_mini
from skcnn.networks import AlexNet, LeNet

NETWORKS = {
    "LeNet 28": (LeNet(), 28, 1),
    "LeNet BN 28": (LeNet(norm="batch"), 28, 1),
    "AlexNet small 67": (AlexNet(variant="small", input_size=(67, 67)), 67, 1),
    "ResNet-18 64": (resnet18(num_classes=10), 64, 3),
}
ROWS = (1, 2, 3, 4, 8, 12, 16, 17, 32, 50, 64, 100, 128, 150, 256)
REQUESTS = (1, 2, 12, 17)


def median_times(*functions, repeats=5):
    """Median seconds of each of `functions`, called in turn."""
    times = [[] for _ in functions]
    for _ in range(repeats):
        for function, seconds in zip(functions, times, strict=True):
            begin = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - begin)
    return [statistics.median(seconds) for seconds in times]


@torch.inference_mode()
def compare_rows():
    """Compare batches of different numbers of rows."""
    images = torch.from_numpy(load_fashion_mnist_mini(subset="test").data[:256, None]) / 255
    for name, (network, side, channels) in NETWORKS.items():
        network.eval()
        x = torch.nn.functional.interpolate(images, (side, side)).expand(-1, channels, -1, -1)
        reference = network(x)
        for rows in ROWS:
            starts = range(0, max(64, rows) - rows + 1, rows)
            y = torch.cat([network(x[start : start + rows]) for start in starts])
            gap = y.double().softmax(1) - reference[: len(y)].double().softmax(1)
            difference, equal = gap.abs().max().item(), torch.equal(y, reference[: len(y)])
            (seconds,) = median_times(lambda x=x[:rows], network=network: network(x))
            print(
                f"{name:18}{rows:4} rows  {difference:8.1e}  "
                f"{'same bits' if equal else 'other bits'}  {1e3 * seconds:8.2f} ms"
            )
            yield {
                "network": name,
                "rows": rows,
                "difference": difference,
                "same_bits": equal,
                "ms": 1e3 * seconds,
            }


def compare_requests():
    """Compare requests of few images with a bare forward pass."""
    X = np.random.default_rng(0).integers(0, 256, (max(REQUESTS), 224, 224, 3), dtype=np.uint8)
    clf = ResNetClassifier(depth=18, max_epochs=1, early_stopping=False, random_state=0)
    clf.fit(X[:4], [0, 0, 1, 1])
    for n in REQUESTS:
        x = torch.rand(n, 3, 224, 224)
        with torch.inference_mode():
            ours, bare = median_times(
                lambda n=n: clf.predict_proba(X[:n]), lambda x=x: clf.module_(x), repeats=7
            )
        print(f"ResNet-18 at 224 pixels, {n:2} images  {1e3 * ours:8.1f} ms  {ours / bare:5.2f}")
        yield {"images": n, "ms": 1e3 * ours, "ratio": ours / bare}


def main():
    """Run the benchmark."""
    results = {"rows": [*compare_rows()], "requests": [*compare_requests()]}
    write_json("results/prediction_batches.json", {"machine": describe_machine(), **results})


if __name__ == "__main__":
    main()
