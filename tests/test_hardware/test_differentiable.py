"""Expected costs and their gradients: vectors worked by hand, finite differences, torch's autograd."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.errors import BadInput
from paretune.core.genotype import Genotypes
from paretune.hardware.tables.additive import AdditiveTable, fbnet_temperature, gumbel_softmax, softmax, tabulate
from paretune.hardware.tables.differentiable import SinglePathRuntime, fbnet_loss, proxyless_add_linear_loss, proxyless_mul_log_loss
from paretune.hardware.tables.published_tables import read_single_path, single_path_runtime
from paretune.spaces.digits_conv import DigitsConv
from paretune.spaces.fbnet import FBNet

TABLE = AdditiveTable(slots=("block",), values=(np.array([10.0, 20.0, 40.0]),))
PROBABILITIES = np.array([0.5, 0.3, 0.2])


def test_expected_latency_and_gradient_of_one_block() -> None:
    # 5 + 6 + 8 = 19; .5 * (10 - 19), .3 * (20 - 19), .2 * (40 - 19). codesign.md section 15.
    assert TABLE.expected([PROBABILITIES]) == pytest.approx(19)
    assert TABLE.gradient([PROBABILITIES])[0] == pytest.approx([-4.5, 0.3, 4.2])


def test_proxyless_losses_at_90_against_80_ms() -> None:
    # .2 * 2.3 * (ln 90 / ln 80) ** .3 and 2.3 + .1 * 10 / 80. codesign.md section 15.
    assert proxyless_mul_log_loss(2.3, 90.0, reference=80.0) == pytest.approx(0.463675, abs=5e-7)
    assert proxyless_add_linear_loss(2.3, 90.0, reference=80.0) == pytest.approx(2.3125)


def test_fbnet_loss_and_temperature_worked_by_hand() -> None:
    # ln(e ** 4) = 4 and 4 ** .5 = 2: 1.5 * .2 * 2.
    assert fbnet_loss(1.5, math.exp(4), power=0.5) == pytest.approx(0.6)
    assert fbnet_temperature(0) == 5
    assert fbnet_temperature(20) == pytest.approx(5 * math.exp(-0.9))


def test_losses_of_tensors_give_the_chain_rule() -> None:
    logits = torch.tensor([0.2, -0.1, 0.4], dtype=torch.float64, requires_grad=True)
    latency = TABLE.expected([torch.softmax(logits, 0)])
    loss = (
        proxyless_mul_log_loss(2.3, latency, reference=30.0)
        + fbnet_loss(1.0, latency)
        + proxyless_add_linear_loss(1.0, latency, reference=30.0)
    )
    loss.backward()
    # d/dE of .46 * (ln E / ln 30) ** .3 + .2 * (ln E) ** .6 + 1 + .1 * (E - 30) / 30.
    energy = latency.item()
    slope = (
        0.46 * 0.3 * (math.log(energy) / math.log(30)) ** -0.7 / (energy * math.log(30))
        + 0.2 * 0.6 * math.log(energy) ** -0.4 / energy
        + 0.1 / 30
    )
    assert logits.grad is not None
    assert logits.grad.numpy() == pytest.approx(slope * TABLE.gradient([torch.softmax(logits, 0).detach().numpy()])[0])


@st.composite
def tables_and_logits(draw: st.DrawFn) -> tuple[AdditiveTable, list[np.ndarray]]:
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    table = AdditiveTable(
        slots=tuple(f"slot{index}" for index in range(len(sizes))),
        values=tuple(rng.uniform(0, 10, size) for size in sizes),
        fixed=float(rng.uniform(0, 5)),
    )
    return table, [rng.normal(size=size) for size in sizes]


@settings(deadline=None, max_examples=40)
@given(case=tables_and_logits())
def test_gradient_is_the_finite_difference_and_torchs(case: tuple[AdditiveTable, list[np.ndarray]]) -> None:
    table, logits = case
    gradient = table.gradient([softmax(logits_C) for logits_C in logits])
    tensors = [torch.tensor(logits_C, requires_grad=True) for logits_C in logits]
    expected = table.expected([torch.softmax(tensor, 0) for tensor in tensors])
    expected.backward()
    assert expected.item() == pytest.approx(table.expected([softmax(logits_C) for logits_C in logits]))
    step = 1e-6
    for slot, logits_C in enumerate(logits):
        assert tensors[slot].grad is not None
        assert tensors[slot].grad.numpy() == pytest.approx(gradient[slot], abs=1e-9)
        for choice in range(len(logits_C)):
            costs = []
            for sign in (1, -1):
                moved = [item.copy() for item in logits]
                moved[slot][choice] += sign * step
                costs.append(table.expected([softmax(item) for item in moved]))
            assert (costs[0] - costs[1]) / (2 * step) == pytest.approx(gradient[slot][choice], abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(case=tables_and_logits())
def test_certain_choices_cost_what_the_table_says(case: tuple[AdditiveTable, list[np.ndarray]]) -> None:
    table, logits = case
    picks = [int(logits_C.argmax()) for logits_C in logits]
    certain = [np.eye(len(logits_C))[pick] for pick, logits_C in zip(picks, logits, strict=True)]
    total = table.total(np.array([picks]))[0]
    assert table.expected(certain) == pytest.approx(total)
    assert total == pytest.approx(table.fixed + sum(values[pick] for values, pick in zip(table.values, picks, strict=True)))


def test_gumbel_samples_choose_with_softmax_probability_and_harden_as_it_cools() -> None:
    rng = np.random.default_rng(0)
    logits = np.log(PROBABILITIES)
    samples = np.array([gumbel_softmax(logits, temperature=0.05, rng=rng) for _ in range(4000)])
    assert samples.sum(axis=1) == pytest.approx(np.ones(4000))
    # Standard deviation of a share of 4,000: at most 0.008.
    assert np.bincount(samples.argmax(axis=1), minlength=3) / 4000 == pytest.approx(PROBABILITIES, abs=0.03)
    assert samples.max(axis=1).mean() > 0.95
    warm = np.array([gumbel_softmax(logits, temperature=50.0, rng=rng) for _ in range(100)])
    assert warm.max() < 0.4
    with pytest.raises(ValueError, match="temperature must be above 0"):
        gumbel_softmax(logits, temperature=0.0, rng=rng)


def test_probabilities_of_other_choices_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected probabilities of \[3\] choices; got shapes \[\(2,\)\]"):
        TABLE.expected([np.array([0.5, 0.5])])
    with pytest.raises(ValueError, match="expected the choices of 1 slots"):
        TABLE.total(np.zeros((4, 2), dtype=int))


@pytest.fixture(scope="module")
def single_path(data_folder: Path) -> SinglePathRuntime:
    return single_path_runtime(read_single_path(data_folder / "op_luts" / "single_path_nas_pixel1.csv").table())


@pytest.mark.parametrize(
    ("d50", "d100", "d5", "total_ms"),
    [(1, 0, 0, 65.6356), (1, 1, 0, 110.6524), (1, 0, 1, 76.3622), (1, 1, 1, 131.4578), (0, 1, 1, 19.5999)],
)
def test_single_path_totals_by_the_formula(single_path: SinglePathRuntime, d50: int, d100: int, d5: int, total_ms: float) -> None:
    # codesign.md section 11 (d); without any block only the fixed part remains.
    ones = np.ones(20)
    assert 1e3 * single_path.total(d50 * ones, d100 * ones, d5 * ones) == pytest.approx(total_ms, abs=5e-5)


def test_single_path_is_approximate_only_where_it_says(single_path: SinglePathRuntime) -> None:
    # Block 1, 3x3 expansion 3: 4.7041 by the formula, 4.4905 in the table. codesign.md section 11 (d).
    ones, zeros = np.ones(20), np.zeros(20)
    assert 1e3 * single_path.blocks(ones, zeros, zeros)[0] == pytest.approx(4.7041, abs=5e-5)
    assert 1e3 * single_path.blocks(ones, ones, zeros)[0] == pytest.approx(9.2015)
    assert 1e3 * single_path.blocks(ones, zeros, ones)[0] == pytest.approx(5.9248)
    assert 1e3 * single_path.blocks(ones, ones, ones)[0] == pytest.approx(11.5892)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_single_path_gradient_is_the_finite_difference_and_torchs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    small, half = rng.uniform(1, 3, 4), rng.uniform(1, 3, 4)
    runtime = SinglePathRuntime(fixed=1.0, r50=half, r100=half + rng.uniform(0, 3, 4), r100_small=small)
    point = [rng.uniform(0, 1, 4) for _ in range(3)]
    tensors = [torch.tensor(values, requires_grad=True) for values in point]
    runtime.total(*tensors).backward()
    for index, gradient in enumerate(runtime.gradient(*point)):
        assert tensors[index].grad is not None
        assert tensors[index].grad.numpy() == pytest.approx(gradient)
        for block in range(4):
            both = []
            for sign in (1, -1):
                moved = [values.copy() for values in point]
                moved[index][block] += sign * 1e-6
                both.append(runtime.total(*moved))
            assert (both[0] - both[1]) / 2e-6 == pytest.approx(gradient[block], abs=1e-6)


def test_costs_that_are_a_sum_over_decisions_become_a_table() -> None:
    space = FBNet(input_shape=(3, 32, 32), num_classes=100)

    def macs(genotypes_ND: Genotypes) -> np.ndarray:
        workloads = space.workloads(genotypes_ND)
        return workloads.per_network_sum(workloads.macs_L).astype(np.float64)

    table = tabulate(space, macs)
    rows_ND = np.random.default_rng(1).integers(0, 9, size=(50, 22)).astype(np.int16)
    assert table.total(rows_ND) == pytest.approx(macs(rows_ND))
    assert all(values.min() == 0 for values in table.values)


def test_costs_that_are_no_sum_over_decisions_are_refused() -> None:
    space = DigitsConv(input_shape=(1, 8, 8), num_classes=10)  # a layer's channels follow from two decisions

    def macs(genotypes_ND: Genotypes) -> np.ndarray:
        workloads = space.workloads(genotypes_ND)
        return workloads.per_network_sum(workloads.macs_L).astype(np.float64)

    with pytest.raises(BadInput, match="no sum over its decisions"):
        tabulate(space, macs)
