"""The networks: plain ``nn.Module`` classes, one file per architecture.

Every network takes keyword-only sizes (``in_channels``, ``n_classes``, ``input_size``), emits
logits, and knows nothing of estimators. ``smallest_side`` of each says how small an image may be.
"""

from skcnn.networks._custom import build_module, probe_input_size
from skcnn.networks.alexnet import AlexNet
from skcnn.networks.lenet import LeNet

__all__ = ["AlexNet", "LeNet", "build_module", "probe_input_size"]
