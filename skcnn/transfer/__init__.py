"""Starting from a network that is trained already: its weights, its head, what stays frozen.

Works on any ``nn.Module``, and knows nothing of estimators. A network says which part makes its
logits by a str attribute ``head_name``; for others that is found by running it.
"""

from skcnn.transfer.adaptation import load_weights
from skcnn.transfer.freezing import frozen_norms, set_frozen
from skcnn.transfer.head import find_head
from skcnn.transfer.weights import TrainedWeights, read_weights

__all__ = [
    "TrainedWeights",
    "find_head",
    "frozen_norms",
    "load_weights",
    "read_weights",
    "set_frozen",
]
