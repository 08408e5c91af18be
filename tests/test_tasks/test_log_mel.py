"""Log-mel features: where a tone lies, loudness, silence, length."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.tasks.log_mel import FLOOR_DB, LogMel


def test_a_tone_lies_in_its_band_and_loudness_does_not_matter() -> None:
    mel = LogMel(sample_rate_hz=8_000, bands=20, frames=10, duration_s=0.5)
    time_s = np.arange(4_000) / 8_000
    samples = (10_000 * np.sin(2 * np.pi * 1_000 * time_s)).astype(np.int16)
    (found,) = mel.features([samples])
    # 22 edges, equal steps of mel from 20 Hz (31.7 mel) to 4,000 Hz (2146.1 mel): 100.7 mel each. 1,000 Hz is 1000 mel,
    # 9.61 steps from the first edge; band b peaks at edge b + 1, so the nearest peak is edge 10, band 9.
    assert found.argmax(axis=0)[2:-2].tolist() == [9] * 6
    assert found.max() == 0
    (quiet,) = mel.features([samples // 10])
    assert np.abs(quiet[9] - found[9]).max() < 0.1
    assert (mel.features([np.zeros(100, dtype=np.int16)]) == FLOOR_DB).all()


def test_short_recordings_lie_in_the_middle_of_silence() -> None:
    mel = LogMel(sample_rate_hz=8_000, bands=8, frames=20, duration_s=1.0)
    short = (8_000 * np.sin(2 * np.pi * 800 * np.arange(1_600) / 8_000)).astype(np.int16)
    (found,) = mel.features([short])
    loud = np.flatnonzero(found.max(axis=0) > FLOOR_DB / 2)
    assert (loud.min() + loud.max()) / 2 == pytest.approx(9.5, abs=1)
    assert len(loud) <= 6


@settings(max_examples=25, deadline=None)
@given(
    bands=st.integers(2, 24),
    frames=st.integers(2, 24),
    length=st.integers(1, 9_000),
    loudness=st.integers(1, 32_000),
)
def test_features_have_their_shape_and_lie_on_the_scale(bands: int, frames: int, length: int, loudness: int) -> None:
    mel = LogMel(sample_rate_hz=8_000, bands=bands, frames=frames, duration_s=0.8)
    samples = np.random.default_rng(length).integers(-loudness, loudness + 1, length).astype(np.int16)
    (found,), again = mel.features([samples]), mel.features([samples, samples[::-1]])
    assert found.shape == (bands, frames)
    assert found.dtype == np.float32
    assert ((found >= FLOOR_DB) & (found <= 0)).all()
    assert found.tobytes() == again[0].tobytes()
