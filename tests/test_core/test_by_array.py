import numpy as np

from paretune.core.by_array import MOST, ByArray


def read_only(*values: int) -> np.ndarray:
    array = np.array(values)
    array.flags.writeable = False
    return array


def test_what_was_worked_out_of_a_read_only_array_is_found_by_the_array() -> None:
    known: ByArray[int] = ByArray()
    pool, equal = read_only(1, 2), read_only(1, 2)
    assert known(pool, lambda: 3) == 3
    assert known(pool, lambda: 4) == 3
    assert known(equal, lambda: 5) == 5  # another array, although it holds the same


def test_the_arrays_used_last_are_kept() -> None:
    known: ByArray[int] = ByArray()
    pool, others = read_only(0), [read_only(index) for index in range(2 * MOST)]
    known(pool, lambda: -1)
    for index, other in enumerate(others):
        known(other, lambda index=index: index)
        assert known(pool, lambda: 7) == -1  # a pool that comes every round stays
    assert known(others[0], lambda: 8) == 8
    assert known(others[-1], lambda: 9) == 2 * MOST - 1


def test_an_array_that_may_change_is_worked_out_anew() -> None:
    known: ByArray[int] = ByArray()
    array = np.zeros(1)
    assert known(array, lambda: 1) == 1
    assert known(array, lambda: 2) == 2
