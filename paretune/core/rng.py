"""Counter-based random streams: draw number i is the same after any crash, so no generator state is ever saved."""

import hashlib
import json

import numpy as np

PHILOX_WORDS = 2


def stream(seed: int, *, index: int, purpose: str) -> np.random.Generator:
    """The random stream number `index` of a seed, for one purpose.

    Streams with another seed, index or purpose do not overlap: seed and purpose make the key of Philox, the index its
    highest counter word, so each stream has 2**192 draws of its own.

    Args:
        seed: any non-negative integer below 2**63.
        index: number of the draw, for example of the ask.
        purpose: who draws, for example `nsga2.offspring`.

    Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011.
    """
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    key = np.frombuffer(digest[: 8 * PHILOX_WORDS], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, index]))


def derive_seed(*parts: int | str) -> int:
    """A seed below 2**63 from named parts, for libraries that want a plain integer."""
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
