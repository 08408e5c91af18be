"""The transformer space: counting, heads that fit, butterfly and Fourier layers, three roads to MACs."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Genotypes, from_named, named
from paretune.core.workload import Kind
from paretune.networks.counting import count_macs, count_parameters
from paretune.networks.evaluation import evaluating
from paretune.networks.onnx_conversion import to_onnx
from paretune.spaces.butterfly import ButterflyLinear
from paretune.spaces.transformer import Transformer
from paretune.spaces.transformer_blocks import Attend, FourierMixing, Patches
from paretune.testing.space import all_genotypes, check_space, random_genotypes

DIGITS = (1, 8, 8)


def digits_space() -> Transformer:
    return Transformer(input_shape=DIGITS, num_classes=10)


def small_space() -> Transformer:
    return Transformer(input_shape=(12, 5), num_classes=3, depths=(1, 2), embeddings=(4, 6), heads=(1, 2, 3), feed_forward_ratios=(1, 2))


def genotype_of(space: Transformer, **choices: object) -> tuple[int, ...]:
    """The smallest network, with these choices (`layer1__mixing` for `layer1.mixing`)."""
    smallest = named(space.decisions, np.zeros(len(space.decisions), dtype=GENE))
    return from_named(space.decisions, {**smallest, **{name.replace("__", "."): value for name, value in choices.items()}})  # type: ignore[dict-item]


class Multiplications(TorchDispatchMode):
    """Counts the products that torch really computes: matrix products, and elementwise ones of ndim > 5 (butterfly factors)."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        outputs = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if name in ("mm", "bmm"):
            self.macs += outputs.numel() * args[0].shape[-1]
        elif name == "addmm":
            self.macs += outputs.numel() * args[1].shape[-1]
        elif name == "mul" and outputs.ndim == 6:
            self.macs += outputs.numel()
        return outputs


def test_transformer_keeps_the_contract() -> None:
    check_space(digits_space, input_shape=DIGITS, num_classes=10)


def test_small_space_of_sequences_keeps_the_contract_counted_through() -> None:
    check_space(small_space, input_shape=(12, 5), num_classes=3)
    # By hand, 2 of 4 kinds attend. Depth 1: 2 kinds with heads, 2 without; depth 2: 12 with, 4 without.
    # Embedding 4 takes 1 or 2 heads, 6 takes 1, 2 or 3: (2*2 + 2) + (12*2 + 4) + (2*3 + 2) + (12*3 + 4) = 82; two ratios.
    assert small_space().size == 164


def test_default_size_by_hand() -> None:
    # d layers: 4**d - 2**d ways attend somewhere (3 heads fit each of 4 embeddings), 2**d do not; 3 ratios.
    ways = sum((4**depth - 2**depth) * 3 + 2**depth for depth in (1, 2, 3, 4))
    assert digits_space().size == 3 * 4 * ways


def test_heads_that_do_not_divide_are_invalid_only_where_a_layer_attends() -> None:
    space = small_space()
    attends = genotype_of(space, embedding=4, heads=3, layer1__mixing="butterfly_attention")
    fourier = genotype_of(space, embedding=4, heads=3, layer1__mixing="fft")
    hidden = genotype_of(space, embedding=4, heads=3, layer1__mixing="fft", layer2__mixing="attention")  # layer 2 is absent
    assert space.valid(np.array([attends, fourier, hidden], dtype=GENE)).tolist() == [False, True, True]
    with pytest.raises(BadInput, match="3 heads do not divide an embedding of 4"):
        space.build(attends)
    assert count_parameters(space.build(fourier)) == count_parameters(space.build(hidden))


def test_macs_and_parameters_equal_those_counted_on_the_built_networks() -> None:
    space = small_space()
    genotypes = all_genotypes(space)
    genotypes = np.unique(space.canonical(genotypes[space.valid(genotypes)]), axis=0)[::3]
    batch = space.workloads(genotypes)
    macs, parameters = batch.per_network_sum(batch.macs_L), batch.per_network_sum(batch.parameters_L)
    for index, row in enumerate(genotypes):
        network = space.build(tuple(row))
        assert (count_macs(network, (1, 12, 5)), count_parameters(network)) == (macs[index], parameters[index]), row


def test_macs_without_fourier_layers_equal_the_products_torch_computes() -> None:
    space = Transformer(input_shape=DIGITS, num_classes=10, mixings=("attention", "butterfly_attention"), embeddings=(16, 24), depths=(2,))
    genotypes: Genotypes = random_genotypes(space, count=8, seed=2)
    batch = space.workloads(genotypes)
    macs = batch.per_network_sum(batch.macs_L)
    for index, row in enumerate(genotypes):
        network = space.build(tuple(row))
        with torch.no_grad(), Multiplications() as counter:  # not in inference mode, where torch hides what linear layers are made of
            network(torch.zeros((1, *DIGITS)))
        assert counter.macs == macs[index], row


def test_a_layer_has_the_records_worked_by_hand() -> None:
    space = digits_space()
    row = genotype_of(space, embedding=16, heads=2, feed_forward_ratio=2, layer1__mixing="butterfly_attention")
    batch = space.workloads(np.array([row], dtype=GENE))
    layers = {layer.name: layer for layer in batch.layers(0)}
    macs = dict(zip(batch.names, batch.macs_L.tolist(), strict=True))
    # 16 tokens of 2x2 pixels; a stack of 16 has 2*16*4 = 128 weights, one of 32 has 2*32*5 = 320.
    assert macs == {
        "embedding": 16 * 4 * 16,
        "positions": 0,
        "layer1.queries_keys_values": 16 * 3 * 128,
        "layer1.attention": 2 * 16 * 16 * 16,
        "layer1.projection": 16 * 128,
        "layer1.mixing_add": 0,
        "layer1.expand": 16 * 2 * 128,
        "layer1.contract": 16 * 320,
        "layer1.feed_forward_add": 0,
        "pool": 0,
        "classifier": 160,
    }
    assert layers["layer1.attention"].kind is Kind.ATTENTION
    assert layers["layer1.expand"].kind is Kind.BUTTERFLY
    # Attention reads 3*16 and writes 16 features of 16 tokens; the input (256) and 2 heads' 16*16 weights are held.
    assert (batch.live_bytes_L // 4)[batch.names.index("layer1.attention")] == 3 * 256 + 256 + 256 + 2 * 256
    fourier = space.workloads(np.array([genotype_of(space, layer1__mixing="butterfly_fft")], dtype=GENE))
    assert dict(zip(fourier.names, fourier.macs_L.tolist(), strict=True))["layer1.fft"] == 2 * 16 * 16 * (4 + 4)
    assert [layer.kind for layer in fourier.layers(0) if layer.name.startswith("layer1.")] == [
        Kind.FFT,
        Kind.ADD,
        Kind.BUTTERFLY,
        Kind.BUTTERFLY,
        Kind.ADD,
    ]


@pytest.mark.parametrize("size", [2, 8, 64])
def test_butterfly_with_twiddle_factors_is_the_fourier_transform(size: int) -> None:
    layer = ButterflyLinear(size, size)
    levels = int(math.log2(size))
    factors = torch.zeros(1, levels, 2, 2, size // 2, dtype=torch.complex128)
    for level in range(levels):
        twiddles = torch.exp(-1j * math.pi * torch.arange(2**level, dtype=torch.float64) / 2**level).repeat(size // 2 ** (level + 1))
        factors[0, level] = torch.stack(
            [torch.stack([torch.ones_like(twiddles), twiddles]), torch.stack([torch.ones_like(twiddles), -twiddles])]
        )
    layer.weight = nn.Parameter(factors)
    reversed_bits = [int(f"{index:0{levels}b}"[::-1], 2) for index in range(size)]
    inputs = torch.randn(3, size, dtype=torch.complex128)
    torch.testing.assert_close(layer(inputs[:, reversed_bits]), torch.fft.fft(inputs))


@pytest.mark.parametrize(("before", "after"), [(8, 8), (5, 3), (8, 20), (1, 2)])
def test_butterfly_layer_is_linear_and_has_the_published_number_of_weights(before: int, after: int) -> None:
    torch.manual_seed(0)
    layer = ButterflyLinear(before, after)
    matrix = layer(torch.eye(before)) - layer.bias
    inputs = torch.randn(2, 4, before)
    torch.testing.assert_close(layer(inputs), inputs @ matrix + layer.bias)
    padded = max(2, 2 ** math.ceil(math.log2(before)))
    assert layer.weight.numel() == math.ceil(after / padded) * 2 * padded * int(math.log2(padded))


def test_fresh_square_butterflies_keep_lengths() -> None:
    inputs = torch.randn(10, 64)
    torch.testing.assert_close(ButterflyLinear(64, 64)(inputs).norm(dim=1), inputs.norm(dim=1))


def test_attention_equals_torch_attention() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(2, 7, 3 * 12)
    queries, keys, values = (part.reshape(2, 7, 3, 4).transpose(1, 2) for part in inputs.split(12, dim=2))
    expected = torch.nn.functional.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).reshape(2, 7, 12)
    torch.testing.assert_close(Attend(12, 3)(inputs), expected)


@pytest.mark.parametrize(("tokens", "embedding"), [(16, 8), (9, 6), (1, 4)])
def test_fourier_mixing_is_the_same_without_complex_numbers(tokens: int, embedding: int) -> None:
    mixing = FourierMixing(tokens, embedding)
    inputs = torch.randn(2, tokens, embedding)
    torch.testing.assert_close(mixing(inputs), mixing.by_matrices(inputs), rtol=1e-4, atol=1e-5)


def test_patches_are_pixels_of_their_square() -> None:
    image = torch.arange(2 * 4 * 6).reshape(1, 2, 4, 6)
    tokens = Patches(2)(image)
    assert tokens.shape == (1, 6, 8)
    # Second patch of the second row: rows 2 and 3, columns 2 and 3 of both channels.
    assert tokens[0, 4].tolist() == image[0, :, 2:4, 2:4].flatten().tolist()


def test_features_may_come_before_time() -> None:
    spaces = [
        Transformer(input_shape=(12, 5), num_classes=3),
        Transformer(input_shape=(5, 12), num_classes=3, sequence_axes="features_length"),
    ]
    row = genotype_of(spaces[0], layer1__mixing="fft")
    networks: list[nn.Module] = []
    for space in spaces:
        torch.manual_seed(1)
        networks.append(space.build(row))
    inputs = torch.randn(2, 12, 5)
    with evaluating(networks[0]), evaluating(networks[1]):
        first: Tensor = networks[0](inputs)
        torch.testing.assert_close(first, networks[1](inputs.transpose(1, 2)))


@pytest.mark.parametrize("mixing", ["attention", "fft", "butterfly_attention", "butterfly_fft"])
def test_every_kind_of_layer_learns_and_converts_to_onnx(mixing: str) -> None:
    import onnxruntime

    space = Transformer(input_shape=DIGITS, num_classes=10, feed_forward_ratios=(3,))  # 3 * 16 features are padded to 64
    torch.manual_seed(0)
    network = space.build(genotype_of(space, layer1__mixing=mixing))
    images, labels = torch.randn(32, *DIGITS), torch.randint(0, 10, (32,))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    session = onnxruntime.InferenceSession(to_onnx(network, (1, *DIGITS)))
    with evaluating(network):
        expected = network(images).numpy()
    np.testing.assert_allclose(session.run(None, {"input": images.numpy()})[0], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "tokens"), [((1, 8, 8), 16), ((1, 28, 28), 49), ((3, 32, 32), 64), ((3, 224, 224), 64), ((3, 16, 8), 32), ((40, 13), 40)]
)
def test_inputs_are_cut_into_at_most_64_patches_or_their_time_steps(shape: tuple[int, ...], tokens: int) -> None:
    space = Transformer(input_shape=shape, num_classes=10)
    layer = space.workloads(np.zeros((1, len(space.decisions)), dtype=GENE)).layers(0)[0]
    assert layer.out_width == tokens
    assert layer.in_channels * tokens == math.prod(shape)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embeddings": (15,), "heads": (2, 4)}, "embeddings: 15 is divided by none of the heads"),
        ({"heads": (1, 5)}, "heads: 5 divides none of the embeddings"),
        ({"mixings": ("lstm",)}, "mixings: 'lstm' is not one of attention"),
        ({"patch_size": 3}, "patch_size: 3 does not divide a 8x8 image"),
        ({"patch_size": 0}, "patch_size: must be a whole number of at least 1"),
        ({"input_shape": (1, 7, 9), "patch_size": None}, "patch_size: no square patches"),
        ({"input_shape": (12, 5), "patch_size": 2}, "patch_size: sequences have no patches"),
        ({"input_shape": (64,)}, "input_shape: must be"),
        ({"input_shape": (0, 5)}, "input_shape: must be a whole number of at least 1"),
        ({"depths": (0,)}, "depths: must be a whole number of at least 1"),
        ({"num_classes": 1}, "num_classes: must be a whole number of at least 2"),
    ],
)
def test_unusable_options_are_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Transformer(**{"input_shape": DIGITS, "num_classes": 10, **options})  # type: ignore[arg-type]


def test_only_one_kind_of_layer_leaves_no_heads_to_choose() -> None:
    space = Transformer(input_shape=DIGITS, num_classes=10, mixings=("fft",), depths=(1, 2))
    rows = np.array([genotype_of(space, heads=heads, depth=depth) for heads, depth in product((1, 2, 4), (1, 2))], dtype=GENE)
    assert len(np.unique(space.canonical(rows), axis=0)) == 2
    assert space.size == 3 * 4 * 2
