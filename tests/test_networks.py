"""Layer shapes and parameter counts of the networks, against the published ones."""

import itertools

import pytest
import torch
from helpers.messages import mentions, names
from torch import nn

from skcnn.networks import (
    VGG,
    AlexNet,
    GoogLeNet,
    InceptionV3,
    LeNet,
    NiN,
    ResNet,
    build_module,
    probe_input_size,
)
from skcnn.networks._blocks import Window, output_side, smallest_side


def n_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def output_shapes(module, *size, of=lambda name, layer: True):
    """Output shapes (C, H, W) of some layers, in the order in which they run, uncomputed."""
    shapes = []
    for name, layer in module.named_modules():
        if of(name, layer):
            layer.register_forward_hook(lambda _, __, y: shapes.append(tuple(y.shape[1:])))
    module(torch.empty(2, *size, device="meta"))
    return shapes


def is_convolution_or_pooling(name, layer):
    return name.startswith("features.") and isinstance(
        layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d
    )


@pytest.mark.parametrize(
    ("network", "params", "size", "expected"),
    [
        (LeNet, {"norm": "batch", "padding": 0}, (1, 28, 28), 44_878),
        (AlexNet, {"padding": 1}, (1, 224, 224), 46_764_746),
        (AlexNet, {"padding": 0}, (1, 224, 224), 46_764_746),
        (AlexNet, {"padding": 0}, (1, 227, 227), 58_299_082),
        (AlexNet, {"padding": 0, "variant": "small"}, (1, 67, 67), 3_774_666),
        # 24, 64, 96, 96 and 64 channels, 32 hidden units.
        (AlexNet, {"variant": "small", "width_ratio": 4}, (1, 67, 67), 238_650),
        (
            AlexNet,
            {"norm": "batch", "dropout_position": "before", "n_classes": 2},
            (3, 227, 227),
            58_292_290,
        ),
        (VGG, {"depth": 11}, (1, 224, 224), 128_806_154),
        (VGG, {"depth": 11, "width_ratio": 4}, (1, 224, 224), 43_093_322),
        (NiN, {}, (1, 224, 224), 1_992_166),
        (GoogLeNet, {}, (1, 96, 96), 5_977_530),
        (ResNet, {"conv_bias": True}, (1, 96, 96), 11_178_378),
        (ResNet, {"conv_bias": True}, (1, 224, 224), 11_178_378),
        # torchvision's, for colour images of 1000 classes.
        (AlexNet, {"variant": "torchvision", "n_classes": 1000}, (3, 224, 224), 61_100_840),
        (VGG, {"depth": 11, "n_classes": 1000}, (3, 224, 224), 132_863_336),
        (VGG, {"depth": 13, "n_classes": 1000}, (3, 224, 224), 133_047_848),
        (VGG, {"depth": 16, "n_classes": 1000}, (3, 224, 224), 138_357_544),
        (VGG, {"depth": 19, "n_classes": 1000}, (3, 224, 224), 143_667_240),
        (ResNet, {"depth": 18, "n_classes": 1000}, (3, 224, 224), 11_689_512),
        (ResNet, {"depth": 34, "n_classes": 1000}, (3, 224, 224), 21_797_672),
        (ResNet, {"depth": 50, "n_classes": 1000}, (3, 224, 224), 25_557_032),
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
    shapes = output_shapes(module, 1, size, size, of=is_convolution_or_pooling)
    assert shapes == expected


def test_vgg_halves_the_size_in_every_block():
    with torch.device("meta"):
        module = VGG(depth=11)
    shapes = output_shapes(module, 1, 224, 224, of=is_convolution_or_pooling)
    convolutions = {64: 1, 128: 1, 256: 2, 512: 2}
    assert shapes == [
        (channels, size, size)
        for channels, before in [(64, 224), (128, 112), (256, 56), (512, 28), (512, 14)]
        for size in [*[before] * convolutions[channels], before // 2]
    ]
    assert module.classifier[0].in_features == 512 * 7 * 7


@pytest.mark.parametrize(("depth", "n_convolutions"), [(11, 8), (13, 10), (16, 13), (19, 16)])
def test_depth_of_vgg_counts_its_layers(depth, n_convolutions):
    with torch.device("meta"):
        module = VGG(depth=depth)
    assert sum(isinstance(layer, nn.Conv2d) for layer in module.modules()) == n_convolutions
    assert sum(isinstance(layer, nn.Linear) for layer in module.modules()) == depth - n_convolutions


def test_vgg_of_own_blocks():
    with torch.device("meta"):
        module = VGG(blocks=((1, 4), (2, 8)), width_ratio=2, input_size=(10, 9))
    shapes = output_shapes(module, 1, 10, 9, of=is_convolution_or_pooling)
    assert shapes == [(2, 10, 9), (2, 5, 4), (4, 5, 4), (4, 5, 4), (4, 2, 2)]
    assert VGG.smallest_side(blocks=((1, 4), (2, 8))) == 4


@pytest.mark.parametrize(
    "blocks", [(), (64, 128), ((1, 64), (2,)), ((0, 64),), ((1, 2.5),), ((True, 4),), "ab"]
)
def test_blocks_of_vgg_are_pairs_of_numbers(blocks):
    with pytest.raises(ValueError, match=names("blocks", blocks)):
        VGG(blocks=blocks)


def test_vgg_has_no_blocks_without_end():
    with pytest.raises(ValueError, match=mentions("'blocks'", 1000, ((10**12, 1),))):
        VGG(blocks=((10**12, 1),))


def test_nin_keeps_the_size_within_a_block():
    with torch.device("meta"):
        module = NiN()
    shapes = output_shapes(module, 1, 224, 224, of=is_convolution_or_pooling)
    assert shapes == [
        *[(96, 54, 54)] * 3,
        (96, 26, 26),
        *[(256, 26, 26)] * 3,
        (256, 12, 12),
        *[(384, 12, 12)] * 3,
        (384, 5, 5),
    ]
    head = output_shapes(module, 1, 224, 224, of=lambda name, _: name == "classifier")
    assert head == [(10, 5, 5)]


@pytest.mark.parametrize("norm", [None, "batch"])
def test_googlenet_joins_its_paths(norm):
    with torch.device("meta"):
        module = GoogLeNet(input_size=(96, 96), norm=norm)

    def is_stage(name, layer):
        return name.startswith(("conv", "maxpool", "inception")) and "." not in name

    assert output_shapes(module, 1, 96, 96, of=is_stage) == [
        (64, 48, 48),
        (64, 24, 24),
        (64, 24, 24),
        (192, 24, 24),
        (192, 12, 12),
        (256, 12, 12),
        (480, 12, 12),
        (480, 6, 6),
        *[(512, 6, 6)] * 3,
        (528, 6, 6),
        (832, 6, 6),
        (832, 3, 3),
        (832, 3, 3),
        (1024, 3, 3),
    ]
    n_norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())
    assert n_norms == (57 if norm else 0)


def test_small_stems_keep_more_of_a_small_image():
    """As in ResNet, whose first stage has the size of the image."""
    with torch.device("meta"):
        googlenet = GoogLeNet(input_size=(28, 28), stem="small")
        inception = InceptionV3(input_size=(28, 28), stem="small")
    last_of_stage = ("conv3", "inception3b", "inception4e", "inception5b")
    assert output_shapes(googlenet, 1, 28, 28, of=lambda name, _: name in last_of_stage) == [
        (192, 28, 28),
        (480, 14, 14),
        (832, 7, 7),
        (1024, 4, 4),
    ]
    last_of_stage = ("Conv2d_2b_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c")
    assert output_shapes(inception, 1, 28, 28, of=lambda name, _: name in last_of_stage) == [
        (64, 28, 28),
        (288, 13, 13),
        (768, 6, 6),
        (2048, 2, 2),
    ]


def test_inception_v3_shapes():
    with torch.device("meta"):
        module = InceptionV3()
    blocks = output_shapes(
        module, 1, 299, 299, of=lambda name, _: name.startswith("Mixed_") and "." not in name
    )
    assert blocks == [
        (256, 35, 35),
        *[(288, 35, 35)] * 2,
        *[(768, 17, 17)] * 5,
        (1280, 8, 8),
        *[(2048, 8, 8)] * 2,
    ]


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({}, 56),
        ({"stem": "small"}, 224),
        ({"depth": 50}, 56),
        ({"depth": 34, "conv_bias": True}, 56),
    ],
)
def test_resnet_halves_the_size_in_its_last_three_stages(options, first):
    with torch.device("meta"):
        module = ResNet(**options)
    expansion = 4 if options.get("depth", 18) >= 50 else 1
    stages = output_shapes(
        module, 1, 224, 224, of=lambda name, _: name.startswith("layer") and "." not in name
    )
    assert stages == [
        (64 * 2**stage * expansion, first // 2**stage, first // 2**stage) for stage in range(4)
    ]


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_depth_of_resnet_counts_its_layers(depth):
    with torch.device("meta"):
        module = ResNet(depth=depth)
    counted = [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and "downsample" not in name
    ]
    assert len(counted) == depth


STEMS = ("imagenet", "small")
OPTIONS = [
    *[
        (LeNet, {"activation": activation, "pooling": pooling, "norm": norm, "padding": padding})
        for activation in ("relu", "sigmoid")
        for pooling in ("max", "avg")
        for norm in (None, "batch")
        for padding in (2, 0)
    ],
    (AlexNet, {"variant": "torchvision", "width_ratio": 16}),
    *[(VGG, {"depth": depth, "width_ratio": 16}) for depth in (11, 13, 16, 19)],
    (VGG, {"width_ratio": 16, "norm": "batch"}),
    (VGG, {"blocks": ((1, 8), (2, 8)), "pooled_side": 3}),
    (NiN, {"width_ratio": 8}),
    *[
        (GoogLeNet, {"width_ratio": 8, "norm": norm, "variant": variant})
        for norm, variant in ((None, "paper"), ("batch", "paper"), ("batch", "torchvision"))
    ],
    (GoogLeNet, {"width_ratio": 8, "norm": "batch", "stem": "small"}),
    *[(InceptionV3, {"width_ratio": 8, "stem": stem}) for stem in STEMS],
    *[
        (ResNet, {"width_ratio": 8, "depth": depth, "stem": stem, "conv_bias": conv_bias})
        for depth, stem, conv_bias in (
            (18, "imagenet", False),
            (18, "small", True),
            (34, "small", False),
            (50, "small", False),
            (50, "imagenet", True),
        )
    ],
    *[
        (AlexNet, {"width_ratio": 16, "norm": norm, "dropout_position": position, "init": init})
        for norm in (None, "lrn", "batch")
        for position in ("after", "before")
        for init in ("he", "torch")
    ],
]


@pytest.mark.parametrize(("network", "params"), OPTIONS)
def test_every_parameter_gets_a_gradient(network, params):
    torch.manual_seed(0)
    side = max(network.smallest_side(**params), 12)
    module = network(in_channels=3, n_classes=4, input_size=(side, side + 3), **params)
    loss = nn.functional.cross_entropy(
        module(torch.randn(32, 3, side, side + 3)), torch.arange(32) % 4
    )
    loss.backward()
    layers = [(name, layer) for name, layer in module.named_modules() if not [*layer.children()]]
    # The batch normalisation that follows a layer cancels its bias.
    cancelled = {
        f"{name}.bias"
        for (name, _), (_, following) in itertools.pairwise(layers)
        if isinstance(following, nn.modules.batchnorm._BatchNorm)
    }
    for name, parameter in module.named_parameters():
        assert parameter.grad.isfinite().all(), name
        if name not in cancelled:
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("in_channels", [1, 3, 4])
@pytest.mark.parametrize("network", [LeNet, AlexNet, VGG, NiN, GoogLeNet, InceptionV3, ResNet])
def test_any_channels_and_sides(network, in_channels):
    side = network.smallest_side()
    with torch.device("meta"):
        module = network(in_channels=in_channels, n_classes=3, input_size=(side + 7, side))
        y = module(torch.empty(2, in_channels, side + 7, side))
    assert y.shape == (2, 3)


@pytest.mark.parametrize(
    ("network", "options", "smallest"),
    [
        (LeNet, {"padding": 2}, 12),
        (LeNet, {"padding": 0}, 16),
        (AlexNet, {"padding": 0, "width_ratio": 16}, 67),
        (AlexNet, {"padding": 1, "width_ratio": 16}, 65),
        (AlexNet, {"variant": "torchvision", "width_ratio": 16}, 63),
        (VGG, {"width_ratio": 16}, 32),
        (VGG, {"blocks": ((1, 2), (1, 2), (1, 2))}, 8),
        (NiN, {"width_ratio": 16}, 67),
        (GoogLeNet, {"variant": "torchvision", "width_ratio": 16}, 15),
        (GoogLeNet, {"variant": "torchvision", "stem": "small", "width_ratio": 16}, 4),
        (InceptionV3, {"width_ratio": 16}, 75),
        (InceptionV3, {"stem": "small", "width_ratio": 16}, 15),
    ],
)
def test_smallest_side_is_the_smallest(network, options, smallest):
    assert network.smallest_side(**options) == smallest
    module = network(input_size=(smallest, smallest), **options).eval()
    assert module(torch.zeros(2, 1, smallest, smallest)).shape == (2, 10)
    with pytest.raises(
        ValueError, match=mentions("'input_size'", smallest, (smallest - 1, smallest + 9))
    ):
        network(input_size=(smallest - 1, smallest + 9), **options)
    # The layers themselves take no fewer, which is what the arithmetic must say.
    with pytest.raises(RuntimeError):
        module(torch.zeros(2, 1, smallest - 1, smallest - 1))


@pytest.mark.parametrize(
    ("network", "options"),
    [
        *[(network, {"stem": stem}) for network in (GoogLeNet, ResNet) for stem in STEMS],
        (ResNet, {"depth": 50}),
    ],
)
def test_networks_of_padded_windows_take_a_single_pixel(network, options):
    assert network.smallest_side(**options) == 1
    module = network(input_size=(1, 1), width_ratio=16, **options).eval()
    assert module(torch.zeros(2, 1, 1, 1)).shape == (2, 10)


@pytest.mark.parametrize("network", [LeNet, AlexNet, VGG, NiN, GoogLeNet, InceptionV3, ResNet])
def test_the_head_makes_the_logits(network):
    with torch.device("meta"):
        module = network(n_classes=3, input_size=(80, 80))
    assert isinstance(module.get_submodule(module.head_name), nn.Linear | nn.Sequential)
    head = output_shapes(module, 1, 80, 80, of=lambda name, _: name == module.head_name)
    assert [shape[0] for shape in head] == [3]
    # It is the last part with parameters.
    assert [*module.state_dict()][-1].startswith(f"{module.head_name}.")


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("side", [2, 3, 4, 5, 6, 7, 8, 30, 31, 64])
def test_window_arithmetic_agrees_with_torch(side, ceil):
    windows = [Window(5, 2, 1), Window(3, 2, ceil=ceil), Window(1)]
    layers = nn.Sequential(
        nn.Conv2d(1, 1, 5, stride=2, padding=1),
        nn.MaxPool2d(3, 2, ceil_mode=ceil),
        nn.Conv2d(1, 1, 1),
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
    with pytest.raises(ValueError, match=names("module_params", {"width": 3})):
        build(instance, {"width": 3})


@pytest.mark.parametrize(
    ("name", "size"), [("resnet18", 33), ("squeezenet1_1", 33), ("googlenet", 33)]
)
def test_build_torchvision_for_grey_images(name, size):
    module = build(name).eval()
    assert module(torch.zeros(2, 1, size, size)).shape == (2, 5)


def test_unknown_torchvision_name_lists_close_ones():
    with pytest.raises(ValueError, match=mentions("'module'", "'resnet81'", "resnet18")):
        build("resnet81")


def test_build_refuses_what_makes_no_module():
    with pytest.raises(TypeError, match=mentions("'module'", "int")):
        build(lambda n_classes: n_classes)


def test_probe_finds_the_smallest_size():
    def probe(shape, size=None):
        return probe_input_size(lambda size: build(Custom), shape, 5, size)

    assert probe((1, 28, 20)) == (28, 20)
    assert probe((1, 6, 6)) == (7, 7)
    assert probe((1, 2, 40)) == (7, 40)
    with pytest.raises(ValueError, match=mentions(1, "6 × 6", "'image_size'")):
        probe((1, 28, 28), (6, 6))
    with pytest.raises(ValueError, match=mentions(3, "28 × 28", 512, "'image_size'")):
        probe((3, 28, 28))  # built for one channel


def test_probe_finds_the_only_size_that_a_network_takes():
    def fixed(size):
        module = build(Custom)
        module.register_forward_pre_hook(lambda _, args: check(args[0].shape[-1]))
        return module

    def check(side):
        assert side == 224, f"Expected 224 but got {side}"

    assert probe_input_size(fixed, (1, 28, 28), 5, None) == (224, 224)
    with pytest.raises(ValueError, match=mentions("30 × 30", "Expected 224 but got 30")):
        probe_input_size(fixed, (1, 28, 28), 5, (30, 30))


def test_probe_refuses_the_wrong_number_of_logits():
    with pytest.raises(ValueError, match=mentions("'module'", 4, (2, 5))):
        probe_input_size(lambda size: build(Custom), (1, 28, 28), 4, None)
