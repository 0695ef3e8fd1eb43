"""How far predictions differ between batches of different numbers of rows, and what each costs.

For each network and number of rows: the largest difference of a class probability from batches of
256, over 64 images of Fashion-MNIST, and the median time of one batch. Random weights.

    python examples/benchmarks/prediction_batches.py
"""

import statistics
import time

import torch
from _report import describe_machine, write_json
from torchvision.models import resnet18

from skcnn.datasets import load_fashion_mnist_mini
from skcnn.networks import AlexNet, LeNet

NETWORKS = {
    "LeNet 28": (LeNet(), 28, 1),
    "LeNet BN 28": (LeNet(norm="batch"), 28, 1),
    "AlexNet small 67": (AlexNet(variant="small", input_size=(67, 67)), 67, 1),
    "ResNet-18 64": (resnet18(num_classes=10), 64, 3),
}


@torch.inference_mode()
def main():
    """Run the benchmark."""
    machine = describe_machine()
    images = torch.from_numpy(load_fashion_mnist_mini(subset="test").data[:256, None]) / 255
    results = []
    for name, (network, side, channels) in NETWORKS.items():
        network.eval()
        x = torch.nn.functional.interpolate(images, (side, side)).expand(-1, channels, -1, -1)
        reference = network(x).double().softmax(1)
        for rows in (1, 2, 4, 8, 16, 32, 64, 128, 256):
            difference, times = 0.0, []
            for start in range(0, max(64, rows), rows):
                begin = time.perf_counter()
                y = network(x[start : start + rows])
                times.append(time.perf_counter() - begin)
                gap = y.double().softmax(1) - reference[start : start + rows]
                difference = max(difference, gap.abs().max().item())
            milliseconds = 1e3 * statistics.median(times)
            print(f"{name:18}{rows:4} rows  {difference:8.1e}  {milliseconds:8.2f} ms")
            results.append(
                {"network": name, "rows": rows, "difference": difference, "ms": milliseconds}
            )
    write_json("results/prediction_batches.json", {"machine": machine, "results": results})


if __name__ == "__main__":
    main()
