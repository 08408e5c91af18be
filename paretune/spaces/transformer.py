"""Transformer space: depth, heads, embedding, feed-forward ratio, and for each layer how it mixes tokens and with what weights.

Four kinds of layer, as in the adaptable butterfly accelerator: `attention` (dense), `fft` (FNet: Fourier mixing, dense feed-forward),
`butterfly_attention` (ABfly: attention and feed-forward with butterfly weights) and `butterfly_fft` (FBfly: Fourier mixing, butterfly
feed-forward). Layers beyond the depth are inactive, and so is the number of heads where no layer attends. The networks are described in
`transformer_blocks`.

Source: Fan et al., Adaptable Butterfly Accelerator for Attention-based NNs via Hardware and Algorithm Co-design, MICRO 2022.

Legend: N candidates, D decisions, B layers at most.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Decision, Genotypes
from paretune.core.option_checks import whole
from paretune.core.workload import Kind, WorkloadBatch
from paretune.spaces.layer_slots import LayerSlots
from paretune.spaces.option_checks import checked_names, checked_numbers
from paretune.spaces.rows import checked_genotype, clipped, encode_active, in_range
from paretune.spaces.transformer_layers import EncoderColumns, add_encoder_layer

if TYPE_CHECKING:
    from torch import nn

Mixing = Literal["attention", "fft", "butterfly_attention", "butterfly_fft"]
MIXINGS: tuple[Mixing, ...] = ("attention", "fft", "butterfly_attention", "butterfly_fft")
ATTENDING = ("attention", "butterfly_attention")
BUTTERFLY = ("butterfly_attention", "butterfly_fft")
SHARED_DECISIONS = 4
"""Depth, embedding, heads and feed-forward ratio come before the layers' decisions."""
MAX_DEFAULT_TOKENS = 64


class Transformer:
    """Transformer encoder space with attention, Fourier or butterfly layers, for images (as patches) and sequences.

    Args:
        input_shape: channels, height and width of an image; or length and features of a sequence.
        num_classes: number of outputs.
        depths: numbers of encoder layers.
        embeddings: features of a token.
        heads: attention heads, the same in all layers; a choice that does not divide the embedding makes a candidate invalid.
        feed_forward_ratios: features inside the feed-forward part for each feature of a token.
        mixings: kinds of layers: `attention`, `fft`, `butterfly_attention`, `butterfly_fft`.
        patch_size: height and width of an image's patches; None for the smallest, from 2, that gives at most 64 tokens.
        sequence_axes: which axis of a sequence comes first.

    Raises:
        BadInput: an option cannot be used.
    """

    name = "transformer"

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        depths: tuple[int, ...] = (1, 2, 3, 4),
        embeddings: tuple[int, ...] = (16, 32, 64, 128),
        heads: tuple[int, ...] = (1, 2, 4),
        feed_forward_ratios: tuple[int, ...] = (1, 2, 4),
        mixings: tuple[Mixing, ...] = MIXINGS,
        patch_size: int | None = None,
        sequence_axes: Literal["length_features", "features_length"] = "length_features",
    ) -> None:
        self._num_classes = whole("num_classes", num_classes, minimum=2)
        self._features_first = sequence_axes == "features_length"
        self._patch_size = _patch_size(input_shape, patch_size)
        self._tokens, self._token_features = self._token_shape(input_shape)
        self._depths = checked_numbers("depths", depths)
        self._embeddings = checked_numbers("embeddings", embeddings, minimum=2)
        self._heads = checked_numbers("heads", heads)
        self._ratios = checked_numbers("feed_forward_ratios", feed_forward_ratios)
        self._mixings = checked_names("mixings", mixings, known=MIXINGS)
        self._attends = np.array([mixing in ATTENDING for mixing in self._mixings])
        self._butterfly = np.array([mixing in BUTTERFLY for mixing in self._mixings])
        self._check_heads()
        self._decisions = self._make_decisions()

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What is to be chosen, in the order of the genotype."""
        return self._decisions

    @property
    def size(self) -> int:
        """Exact number of distinct architectures.

        d layers of K kinds, K - A of which do not attend, can be chosen in K ** d ways; in (K - A) ** d of them heads are inactive.
        """
        kinds, without = len(self._mixings), len(self._mixings) - int(self._attends.sum())
        total = 0
        for embedding in self._embeddings:
            fitting_heads = sum(embedding % heads == 0 for heads in self._heads)
            total += sum((kinds**depth - without**depth) * fitting_heads + without**depth for depth in self._depths)
        return len(self._ratios) * total

    def canonical(self, genotypes_ND: Genotypes) -> Genotypes:
        """`(N, D)` with absent layers' decisions, and heads that no layer uses, set to index 0: equal rows <=> same network."""
        return np.where(self._active(genotypes_ND), genotypes_ND, 0).astype(GENE)

    def valid(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N,)` mask of the rows whose every index names a choice and whose embedding the heads divide, where a layer attends."""
        known_ND = clipped(self._decisions, genotypes_ND)
        divides_N = np.array(self._embeddings)[known_ND[:, 1]] % np.array(self._heads)[known_ND[:, 2]] == 0
        fits_N: NDArray[np.bool_] = in_range(self._decisions, genotypes_ND) & (divides_N | ~self._any_attends(known_ND))
        return fits_N

    def encode(self, genotypes_ND: Genotypes) -> NDArray[np.float64]:
        """`(N, F)`: (index + 1) / choices of the shared decisions, then one feature for each kind of each layer; 0.0 where inactive."""
        active_ND = self._active(genotypes_ND)
        shared = encode_active(self._decisions, genotypes_ND, active_ND)[:, :SHARED_DECISIONS]
        one_hot = genotypes_ND[:, SHARED_DECISIONS:, None] == np.arange(len(self._mixings))
        layers = (one_hot & active_ND[:, SHARED_DECISIONS:, None]).reshape(len(genotypes_ND), -1)
        return np.concatenate([shared, layers.astype(np.float64)], axis=1)

    def workloads(self, genotypes_ND: Genotypes) -> WorkloadBatch:
        """The layers of N networks; layer norm is counted with the addition before it."""
        genes_ND = genotypes_ND.astype(np.int64)
        slots = LayerSlots(num_networks=len(genes_ND), sequences=True)
        embedding_N = np.array(self._embeddings)[genes_ND[:, 1]]
        whole = (self._tokens, self._tokens)
        slots.add("embedding", Kind.LINEAR, channels=(self._token_features, embedding_N), size=whole, per_channel=1)
        slots.add("positions", Kind.ADD, channels=(embedding_N, embedding_N), size=whole, per_channel=self._tokens)
        present_NB = self._present(genotypes_ND)
        for layer in range(self._depths[-1]):
            kind_N = genes_ND[:, SHARED_DECISIONS + layer]
            columns = EncoderColumns(
                tokens=self._tokens,
                embedding=embedding_N,
                heads=np.array(self._heads)[genes_ND[:, 2]],
                feed_forward=embedding_N * np.array(self._ratios)[genes_ND[:, 3]],
                attends=self._attends[kind_N],
                butterfly=self._butterfly[kind_N],
                present=present_NB[:, layer],
            )
            add_encoder_layer(slots, f"layer{layer + 1}", columns)
        slots.add("pool", Kind.POOL, channels=(embedding_N, embedding_N), size=(self._tokens, 1), kernel=self._tokens, taps=self._tokens)
        slots.add("classifier", Kind.LINEAR, channels=(embedding_N, self._num_classes), size=(1, 1), per_channel=1)
        return slots.batch()

    def build(self, genotype: Sequence[int]) -> "nn.Module":
        """The torch network of one genotype, with fresh weights from torch's global generator.

        Raises:
            BadInput: the genotype has another length, an index that names no choice, or heads that do not divide its embedding.
        """
        from torch import nn  # torch takes a second to import; listing and screening do without

        from paretune.spaces.transformer_blocks import LayerPlan, Patches, Transposed, transformer_network

        row = checked_genotype(self.name, self._decisions, genotype)
        genes = [int(gene) for gene in row[0]]
        embedding, heads = self._embeddings[genes[1]], self._heads[genes[2]]
        if not self.valid(row)[0]:
            raise BadInput(f"{list(genotype)} is no genotype of {self.name}: {heads} heads do not divide an embedding of {embedding}")
        plans = [
            LayerPlan(
                embedding=embedding,
                tokens=self._tokens,
                heads=heads,
                feed_forward=embedding * self._ratios[genes[3]],
                attends=bool(self._attends[gene]),
                butterfly=bool(self._butterfly[gene]),
            )
            for gene in genes[SHARED_DECISIONS : SHARED_DECISIONS + self._depths[genes[0]]]
        ]
        tokenizer = Patches(self._patch_size) if self._patch_size else Transposed() if self._features_first else nn.Identity()
        return transformer_network(tokenizer=tokenizer, token_features=self._token_features, layers=plans, num_classes=self._num_classes)

    def _make_decisions(self) -> tuple[Decision, ...]:
        shared = [
            Decision(name="depth", choices=self._depths, ordinal=True),
            Decision(name="embedding", choices=self._embeddings, ordinal=True),
            Decision(name="heads", choices=self._heads, ordinal=True),
            Decision(name="feed_forward_ratio", choices=self._ratios, ordinal=True),
        ]
        layers = [Decision(name=f"layer{layer}.mixing", choices=self._mixings, ordinal=False) for layer in range(1, self._depths[-1] + 1)]
        return (*shared, *layers)

    def _present(self, genotypes_ND: NDArray[np.integer]) -> NDArray[np.bool_]:
        """`(N, B)` which layers each network has."""
        return np.asarray(np.arange(self._depths[-1]) < np.array(self._depths)[genotypes_ND[:, 0]][:, None])

    def _any_attends(self, genotypes_ND: NDArray[np.integer]) -> NDArray[np.bool_]:
        """`(N,)` whether a layer attends."""
        return np.asarray(np.any(self._attends[genotypes_ND[:, SHARED_DECISIONS:]] & self._present(genotypes_ND), axis=1))

    def _active(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N, D)` which decisions matter."""
        active_ND = np.ones(genotypes_ND.shape, dtype=np.bool_)
        active_ND[:, 2] = self._any_attends(genotypes_ND)
        active_ND[:, SHARED_DECISIONS:] = self._present(genotypes_ND)
        return active_ND

    def _token_shape(self, input_shape: Sequence[int]) -> tuple[int, int]:
        """Number of tokens and features of each."""
        if self._patch_size:
            channels, height, width = input_shape
            return (height // self._patch_size) * (width // self._patch_size), channels * self._patch_size**2
        first, second = input_shape
        return (second, first) if self._features_first else (first, second)

    def _check_heads(self) -> None:
        """Refuse embeddings that no number of heads divides, and numbers of heads that divide no embedding."""
        for embedding in self._embeddings:
            if all(embedding % heads for heads in self._heads):
                raise BadInput(f"embeddings: {embedding} is divided by none of the heads {list(self._heads)}")
        for heads in self._heads:
            if all(embedding % heads for embedding in self._embeddings):
                raise BadInput(f"heads: {heads} divides none of the embeddings {list(self._embeddings)}")


def _patch_size(input_shape: Sequence[int], patch_size: int | None) -> int:
    """Height and width of patches; 0 for sequences."""
    for size in input_shape:
        whole("input_shape", size, minimum=1)
    if len(input_shape) == 2:
        if patch_size is not None:
            raise BadInput("patch_size: sequences have no patches; leave it out")
        return 0
    if len(input_shape) != 3:
        raise BadInput(f"input_shape: must be (channels, height, width) or (length, features); got {tuple(input_shape)}")
    _, height, width = input_shape
    common = math.gcd(height, width)
    if patch_size is not None:
        if whole("patch_size", patch_size, minimum=1) and common % patch_size:
            raise BadInput(f"patch_size: {patch_size} does not divide a {height}x{width} image")
        return patch_size
    sizes = [size for size in range(2, common + 1) if common % size == 0 and height * width // size**2 <= MAX_DEFAULT_TOKENS]
    if not sizes:
        raise BadInput(f"patch_size: no square patches give a {height}x{width} image at most {MAX_DEFAULT_TOKENS} tokens; choose a size")
    return sizes[0]
