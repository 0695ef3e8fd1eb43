"""Starting from a network that is trained already: its weights, its head, what stays frozen.

Works on any ``nn.Module``, and knows nothing of estimators. A network says which part makes its
logits by a str attribute ``head_name``; for others that is found by running it.
"""

from skcnn.transfer.adaptation import load_weights
from skcnn.transfer.freezing import Frozen, set_frozen
from skcnn.transfer.head import find_head
from skcnn.transfer.layers import observable, parts_of
from skcnn.transfer.weights import TrainedWeights, is_path, layer_shapes_of, read_weights

__all__ = [
    "Frozen",
    "TrainedWeights",
    "find_head",
    "is_path",
    "layer_shapes_of",
    "load_weights",
    "observable",
    "parts_of",
    "read_weights",
    "set_frozen",
]
