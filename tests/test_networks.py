"""Layer shapes and parameter counts of the networks, against the published ones."""

import pytest
import torch
from torch import nn

from skcnn.networks import AlexNet, LeNet, build_module, probe_input_size
from skcnn.networks._blocks import Window, output_side, smallest_side


def n_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def feature_shapes(module, *size):
    """Output shapes (C, H, W) of the convolutions and poolings, without computing them."""
    shapes = []
    for layer in module.features:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            layer.register_forward_hook(lambda _, __, y: shapes.append(tuple(y.shape[1:])))
    module(torch.empty(2, *size, device="meta"))
    return shapes


@pytest.mark.parametrize(
    ("network", "params", "size", "expected"),
    [
        (LeNet, {"norm": "batch", "padding": 0}, (1, 28, 28), 44_878),
        (AlexNet, {"padding": 1}, (1, 224, 224), 46_764_746),
        (AlexNet, {"padding": 0}, (1, 224, 224), 46_764_746),
        (AlexNet, {"padding": 0}, (1, 227, 227), 58_299_082),
        (AlexNet, {"padding": 0, "variant": "small"}, (1, 67, 67), 3_774_666),
        (
            AlexNet,
            {"norm": "batch", "dropout_position": "before", "n_classes": 2},
            (3, 227, 227),
            58_292_290,
        ),
    ],
)
def test_parameter_counts(network, params, size, expected):
    with torch.device("meta"):
        module = network(in_channels=size[0], input_size=size[1:], **params)
    assert n_parameters(module) == expected


@pytest.mark.parametrize(
    ("network", "params", "size", "expected"),
    [
        (LeNet, {"padding": 0}, 28, [(6, 24, 24), (6, 12, 12), (16, 8, 8), (16, 4, 4)]),
        (LeNet, {"padding": 2}, 28, [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5)]),
        (
            AlexNet,
            {"padding": 1},
            224,
            [
                (96, 54, 54),
                (96, 26, 26),
                (256, 26, 26),
                (256, 12, 12),
                (384, 12, 12),
                (384, 12, 12),
                (256, 12, 12),
                (256, 5, 5),
            ],
        ),
        (
            AlexNet,
            {},
            227,
            [
                (96, 55, 55),
                (96, 27, 27),
                (256, 27, 27),
                (256, 13, 13),
                (384, 13, 13),
                (384, 13, 13),
                (256, 13, 13),
                (256, 6, 6),
            ],
        ),
        (
            AlexNet,
            {"variant": "small"},
            67,
            [
                (96, 15, 15),
                (96, 7, 7),
                (256, 7, 7),
                (256, 3, 3),
                (384, 3, 3),
                (384, 3, 3),
                (256, 3, 3),
                (256, 1, 1),
            ],
        ),
    ],
)
def test_layer_shapes(network, params, size, expected):
    with torch.device("meta"):
        module = network(input_size=(size, size), **params)
    assert feature_shapes(module, 1, size, size) == expected


OPTIONS = [
    *[
        (LeNet, {"activation": activation, "pooling": pooling, "norm": norm, "padding": padding})
        for activation in ("relu", "sigmoid")
        for pooling in ("max", "avg")
        for norm in (None, "batch")
        for padding in (2, 0)
    ],
    *[
        (AlexNet, {"variant": "small", "norm": norm, "dropout_position": position, "init": init})
        for norm in (None, "lrn", "batch")
        for position in ("after", "before")
        for init in ("he", "torch")
    ],
]


@pytest.mark.parametrize(("network", "params"), OPTIONS)
def test_every_parameter_gets_a_gradient(network, params):
    torch.manual_seed(0)
    side = network.smallest_side()
    padding = params.get("padding", 0)
    side = network.smallest_side(padding)
    module = network(in_channels=3, n_classes=4, input_size=(side, side + 3), **params)
    loss = nn.functional.cross_entropy(
        module(torch.randn(32, 3, side, side + 3)), torch.arange(32) % 4
    )
    loss.backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad.isfinite().all(), name
        # A convolution's bias is cancelled by the batch normalisation that follows it.
        if params.get("norm") != "batch" or not name.endswith("bias"):
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("network", "padding", "smallest"),
    [(LeNet, 2, 12), (LeNet, 0, 16), (AlexNet, 0, 67), (AlexNet, 1, 65)],
)
def test_smallest_side_is_the_smallest(network, padding, smallest):
    assert network.smallest_side(padding) == smallest
    module = network(input_size=(smallest, smallest), padding=padding)
    assert module(torch.zeros(2, 1, smallest, smallest)).shape == (2, 10)
    with pytest.raises(ValueError, match=f"at least {smallest} pixels"):
        network(input_size=(smallest - 1, smallest + 9), padding=padding)


@pytest.mark.parametrize("side", [5, 31, 64])
def test_window_arithmetic_agrees_with_torch(side):
    windows = [Window(5, 2, 1), Window(3, 2), Window(1)]
    layers = nn.Sequential(
        nn.Conv2d(1, 1, 5, stride=2, padding=1), nn.MaxPool2d(3, 2), nn.Conv2d(1, 1, 1)
    )
    smallest = smallest_side(windows)
    if side < smallest:
        assert output_side(side, windows) < 1
        with pytest.raises(RuntimeError):
            layers(torch.zeros(1, 1, side, side))
    else:
        assert layers(torch.zeros(1, 1, side, side)).shape[-1] == output_side(side, windows)


def test_dropout_position():
    def kinds(position):
        classifier = AlexNet(
            variant="small", input_size=(67, 67), dropout_position=position
        ).classifier
        return [type(layer).__name__ for layer in classifier]

    assert kinds("after") == ["Linear", "ReLU", "Dropout"] * 2 + ["Linear"]
    assert kinds("before") == ["Dropout", "Linear", "ReLU"] * 2 + ["Linear"]


def test_local_response_normalisation_follows_the_paper():
    features = AlexNet(variant="small", input_size=(67, 67), norm="lrn").features
    kinds = [type(layer).__name__ for layer in features[:8]]
    assert kinds == ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"] * 2
    # b = a / (k + α Σ a²)^β with the sum over n=5 channels (section 3.3); torch divides α by n.
    a = torch.randn(1, 7, 1, 1, dtype=torch.float64)
    sums = torch.stack([(a[:, max(0, i - 2) : i + 3] ** 2).sum(1) for i in range(7)], dim=1)
    torch.testing.assert_close(features[2](a), a / (2 + 1e-4 / 5 * sums) ** 0.75)


def test_he_initialisation():
    torch.manual_seed(0)
    module = AlexNet(input_size=(67, 67))
    conv, linear = module.features[3], module.classifier[3]
    assert conv.weight.std().item() == pytest.approx((2 / (96 * 5 * 5)) ** 0.5, rel=0.02)
    assert linear.weight.std().item() == pytest.approx((2 / (4096 + 4096)) ** 0.5, rel=0.02)
    assert not conv.bias.any()
    assert not linear.bias.any()


class Custom(nn.Sequential):
    def __init__(self, in_channels, num_classes, width=2):
        super().__init__(
            nn.Conv2d(in_channels, width, 7),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, num_classes),
        )


def build(module, params=None, n_classes=5, in_channels=1, input_size=(28, 28)):
    return build_module(
        module,
        params or {},
        in_channels=in_channels,
        n_classes=n_classes,
        input_size=input_size,
    )


def test_build_fills_in_what_is_taken_by_name():
    module = build(Custom, {"width": 3})
    assert (module[0].in_channels, module[0].out_channels, module[3].out_features) == (1, 3, 5)
    assert build(Custom, {"num_classes": 8})[3].out_features == 8


def test_build_copies_an_instance():
    instance = Custom(1, 5)
    module = build(instance)
    assert module is not instance
    assert torch.equal(module[3].weight, instance[3].weight)
    with pytest.raises(ValueError, match="'module_params' parameter must be None"):
        build(instance, {"width": 3})


@pytest.mark.parametrize(
    ("name", "size"), [("resnet18", 33), ("squeezenet1_1", 33), ("googlenet", 33)]
)
def test_build_torchvision_for_grey_images(name, size):
    module = build(name).eval()
    assert module(torch.zeros(2, 1, size, size)).shape == (2, 5)


def test_unknown_torchvision_name_lists_close_ones():
    with pytest.raises(ValueError, match="Close to it: .*resnet18"):
        build("resnet81")


def test_build_refuses_what_makes_no_module():
    with pytest.raises(TypeError, match="returns a int, instead"):
        build(lambda n_classes: n_classes)


def test_probe_finds_the_smallest_size():
    def probe(shape, size=None):
        return probe_input_size(lambda size: build(Custom), shape, 5, size)

    assert probe((1, 28, 20)) == (28, 20)
    assert probe((1, 6, 6)) == (7, 7)
    assert probe((1, 2, 40)) == (7, 40)
    with pytest.raises(ValueError, match="does not take images of 1 channels and 6 × 6 pixels"):
        probe((1, 28, 28), (6, 6))
    with pytest.raises(ValueError, match="nor enlarged up to 512"):
        probe((3, 28, 28))  # built for one channel


def test_probe_refuses_the_wrong_number_of_logits():
    with pytest.raises(ValueError, match="one logit for each of the 4 classes"):
        probe_input_size(lambda size: build(Custom), (1, 28, 28), 4, None)
