"""The networks: plain ``nn.Module`` classes, one file per architecture.

Every network takes keyword-only sizes (``in_channels``, ``n_classes``, ``input_size``), emits
logits, and knows nothing of estimators. ``smallest_side`` of each says how small an image may be
with which options, ``head_name`` which part makes the logits.
"""

from skcnn.networks._custom import build_module, probe_input_size
from skcnn.networks.alexnet import AlexNet
from skcnn.networks.convnet import ConvNet
from skcnn.networks.googlenet import GoogLeNet
from skcnn.networks.inception import InceptionV3
from skcnn.networks.lenet import LeNet
from skcnn.networks.nin import NiN
from skcnn.networks.resnet import ResNet
from skcnn.networks.vgg import VGG

__all__ = [
    "VGG",
    "AlexNet",
    "ConvNet",
    "GoogLeNet",
    "InceptionV3",
    "LeNet",
    "NiN",
    "ResNet",
    "build_module",
    "probe_input_size",
]
