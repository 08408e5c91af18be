"""What the cost of a layer is a polynomial of: NeuralPower's features of convolutions, linear layers and pooling.

Legend: L layers, T terms, S sizes, O layouts.

Source: Cai, Juan, Stamoulis & Marculescu, NeuralPower: Predict and deploy energy-efficient convolutional neural networks, ACML 2017.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.workload import Kind, WorkloadBatch

Columns: TypeAlias = Mapping[str, NDArray[np.float64]]
Quantity: TypeAlias = Literal["latency_s", "power_w"]
FloatMatrix: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Features of one kind of layer."""

    variables: tuple[str, ...]
    """Columns whose monomials are taken."""
    products: Mapping[str, tuple[str, ...]]
    """Special terms: products of columns, each with a meaning."""
    latency_degree: int
    tiled: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]] | None = None
    """Rows, columns and depth of the matrix product that computes the layer, each a product of columns."""
    layouts: tuple[str, ...] = ()
    """Columns of 0 or 1, 0 where they are missing: libraries have kernels of their own for such operands."""


_POSITIONS = ("out_height", "out_width")
_KERNEL = ("kernel_height", "kernel_width")
CONVOLUTION = Recipe(
    variables=("batch", "out_height", "out_width", "kernel_width", "group_channels", "out_channels", "in_height"),
    products={
        "macs_per_image": (*_POSITIONS, *_KERNEL, "group_channels", "out_channels"),
        "macs": ("batch", *_POSITIONS, *_KERNEL, "group_channels", "out_channels"),
        "output_elements": ("batch", *_POSITIONS, "out_channels"),
        "weights": (*_KERNEL, "group_channels", "out_channels"),
        "input_elements": ("batch", "in_height", "in_width", "in_channels"),
        "unrolled_elements": ("batch", *_POSITIONS, *_KERNEL, "in_channels"),
        "padded_rows": ("batch", "padding_height", "in_width", "in_channels"),
        "padded_columns": ("batch", "padding_width", "in_height", "in_channels"),
    },
    latency_degree=3,
    tiled=(("batch", *_POSITIONS), ("out_channels",), (*_KERNEL, "group_channels")),
)
LINEAR = Recipe(
    variables=("batch", "in_channels", "out_channels"),
    products={
        "macs": ("batch", "in_channels", "out_channels"),
        "output_elements": ("batch", "out_channels"),
        "weights": ("in_channels", "out_channels"),
        "input_elements": ("batch", "in_channels"),
    },
    latency_degree=2,
    tiled=(("batch",), ("out_channels",), ("in_channels",)),
    layouts=("transposed_input", "transposed_weights"),
)
POOLING = Recipe(
    variables=("batch", "out_height", "out_width", "kernel_width", "out_channels", "in_height"),
    products={
        "operations": ("batch", *_POSITIONS, *_KERNEL, "out_channels"),
        "output_elements": ("batch", *_POSITIONS, "out_channels"),
        "input_elements": ("batch", "in_height", "in_width", "in_channels"),
    },
    latency_degree=3,
)
RECIPES: Mapping[str, Recipe] = {"conv": CONVOLUTION, "depthwise": CONVOLUTION, "linear": LINEAR, "pool": POOLING}
"""Kind of layer -> features. The paper knows conv, fully connected and pooling; its convolutions have one group.

Departs: channels of one group instead of input channels, so that grouped and depthwise layers count what they compute; kernels, inputs and
paddings have two sides in the special terms, because measured kernels do."""
POWER_DEGREE = 2
TILES = (1, 32, 64, 128)
"""Sizes that libraries round the two sides of a matrix product up to; the usual tiles of cuBLAS and CUTLASS kernels."""
NARROW = (16, 32, 64, 128)
"""Bounds of the narrower side of a matrix product between which a library uses one kernel, so that MACs have one rate."""
PLAIN = "plain"
"""Begins the names of terms of layers whose operands are not transposed."""


def columns_needed(kind: str) -> tuple[str, ...]:
    """Columns that the features of a kind are made of, beside `groups`.

    Raises:
        BadInput: nobody knows features of this kind.
    """
    recipe = _recipe(kind)
    names = {name for names in (recipe.variables, *recipe.products.values()) for name in names}
    return tuple(sorted(names - {"group_channels"} | ({"in_channels"} if "group_channels" in names else set())))


def layer_features(kind: str, columns: Columns, quantity: Quantity) -> tuple[tuple[str, ...], FloatMatrix]:
    """Names `(T,)` and values `(L, T)` of the terms.

    Latency: a constant, the monomials of the variables up to the recipe's degree, the special products, and what the matrix product that
    computes the layer adds (Departs: not in the paper): MACs with rows and columns rounded up to tiles, because small batches cost as
    much as a whole tile; MACs by the narrower side, and all that once more for each layout of the operands, because libraries choose
    another kernel for them and the same product may take four times as long. Power: monomials of degree up to 2
    of the variables and their binary logarithms, and the products.

    Args:
        kind: of all the layers.
        columns: name -> `(L,)`; `groups` may be left out where it is 1.
        quantity: what is to be predicted.

    Raises:
        BadInput: nobody knows features of this kind, or a column is missing.
    """
    recipe, known = _recipe(kind), _known(kind, columns)
    variables = {name: known[name] for name in recipe.variables}
    degree = recipe.latency_degree
    if quantity == "power_w":
        variables |= {f"log2({name})": np.log2(np.maximum(values_L, 1)) for name, values_L in variables.items()}
        degree = POWER_DEGREE
    names, terms = ["1"], [np.ones(len(next(iter(known.values()))))]
    for order in range(1, degree + 1):
        for chosen in combinations_with_replacement(variables, order):
            names.append("*".join(chosen))
            terms.append(_product(variables, chosen))
    for name, factors in recipe.products.items():
        names.append(name)
        terms.append(_product(known, factors))
    if quantity == "latency_s" and recipe.tiled is not None:
        more = _matrix_product_terms(recipe.tiled, recipe.layouts, known)
        names += more
        terms += more.values()
    return tuple(names), np.stack(terms, axis=1)


def layer_shapes(kind: str, columns: Columns) -> tuple[FloatMatrix, FloatMatrix]:
    """`(L, S)` sizes of at least 1 that say what a layer costs, and `(L, O)` layouts of its operands, 0 or 1.

    Sizes: the variables; strides; rows and depth of the matrix product that computes the layer, its MACs, and by how much tiles of 64 x 128
    exceed rows and columns.

    Args:
        kind: of all the layers.
        columns: name -> `(L,)`; `groups` and layouts may be left out.

    Raises:
        BadInput: nobody knows features of this kind, or a column is missing.
    """
    recipe, known = _recipe(kind), _known(kind, columns)
    sizes = [known[name] for name in recipe.variables]
    if "in_height" in known and "out_height" in known:
        sizes.append(known["in_height"] / known["out_height"])
    if recipe.tiled is not None:
        rows_L, columns_L, depth_L = (_product(known, factors) for factors in recipe.tiled)
        waste = [np.ceil(size_L / tile) * tile / size_L for size_L, tile in ((rows_L, 64), (columns_L, 128))]
        sizes += [rows_L, depth_L, rows_L * columns_L * depth_L, *waste]
    layouts = [known.get(name, np.zeros(len(sizes[0]))) > 0 for name in recipe.layouts]
    sizes_LS = np.stack(sizes, axis=1)
    return sizes_LS, np.stack(layouts, axis=1).astype(np.float64) if layouts else np.empty((len(sizes_LS), 0))


def _known(kind: str, columns: Columns) -> dict[str, NDArray[np.float64]]:
    missing = [name for name in columns_needed(kind) if name not in columns]
    if missing:
        raise BadInput(f"{kind} layers: columns {', '.join(missing)} are missing")
    known = {name: np.asarray(values_L, dtype=np.float64) for name, values_L in columns.items()}
    if "in_channels" in known:
        known["group_channels"] = known["in_channels"] / known.get("groups", np.ones_like(known["in_channels"]))
    return known


def _matrix_product_terms(
    tiled: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]], layouts: tuple[str, ...], known: Columns
) -> dict[str, FloatMatrix]:
    """MACs of whole tiles and by the narrower side; the latter and the operands' sizes for each layout too."""
    rows_L, columns_L, depth_L = (_product(known, factors) for factors in tiled)
    by_rate = _rate_terms(rows_L, columns_L, depth_L)
    found = _tiled_terms(rows_L, columns_L, depth_L) | by_rate
    if not layouts:
        return found
    kernels = {name: known.get(name, np.zeros(len(depth_L))) > 0 for name in layouts}
    kernels[PLAIN] = ~np.any(list(kernels.values()), axis=0)
    moved = {"1": np.ones(len(depth_L)), "rows": rows_L * depth_L, "columns": columns_L * depth_L, "outputs": rows_L * columns_L}
    parts = by_rate | moved
    return found | {f"{kernel}.{name}": term_L * chosen_L for kernel, chosen_L in kernels.items() for name, term_L in parts.items()}


def _tiled_terms(rows_L: FloatMatrix, columns_L: FloatMatrix, depth_L: FloatMatrix) -> dict[str, FloatMatrix]:
    """MACs of whole tiles."""
    return {
        f"macs_in_tiles_{rows}x{columns}": np.ceil(rows_L / rows) * rows * np.ceil(columns_L / columns) * columns * depth_L
        for rows, columns in product(TILES, TILES)
        if (rows, columns) != (1, 1)
    }


def _rate_terms(rows_L: FloatMatrix, columns_L: FloatMatrix, depth_L: FloatMatrix) -> dict[str, FloatMatrix]:
    """MACs where the narrower side lies within bounds."""
    macs_L, place_L = rows_L * columns_L * depth_L, np.searchsorted(NARROW, np.minimum(rows_L, columns_L))
    labels = [*(f"to_{bound}" for bound in NARROW), f"above_{NARROW[-1]}"]
    return {f"macs_narrow_{label}": macs_L * (place_L == place) for place, label in enumerate(labels)}


def workload_columns(workloads: WorkloadBatch, chosen_L: NDArray[np.bool_]) -> Columns:
    """The columns of some layers. Tokens of a linear layer count as images: they share its weights."""
    height_L, width_L = workloads.out_height[chosen_L], workloads.out_width[chosen_L]
    in_height_L = np.where(workloads.in_height > 0, workloads.in_height, workloads.out_height * workloads.stride)[chosen_L]
    in_width_L = np.where(workloads.in_width > 0, workloads.in_width, workloads.out_width * workloads.stride)[chosen_L]
    tokens_L = np.where(workloads.kind[chosen_L] == Kind.LINEAR, height_L * width_L, 1)
    kernel_L, padding_L = workloads.kernel[chosen_L], workloads.padding[chosen_L]
    values = {
        "batch": workloads.batch[chosen_L] * tokens_L,
        "out_height": height_L,
        "out_width": width_L,
        "in_height": in_height_L,
        "in_width": in_width_L,
        "kernel_height": kernel_L,
        "kernel_width": kernel_L,
        "padding_height": padding_L,
        "padding_width": padding_L,
        "in_channels": workloads.in_channels[chosen_L],
        "out_channels": workloads.out_channels[chosen_L],
        "groups": workloads.groups[chosen_L],
    }
    return {name: values_L.astype(np.float64) for name, values_L in values.items()}


def _recipe(kind: str) -> Recipe:
    if kind not in RECIPES:
        raise BadInput(f"layer regression: knows no features of '{kind}' layers; it knows {', '.join(RECIPES)}")
    return RECIPES[kind]


def _product(columns: Columns, names: Sequence[str]) -> NDArray[np.float64]:
    return np.asarray(np.prod([columns[name] for name in names], axis=0))
