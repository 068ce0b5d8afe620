"""What `difference` says of two tensors, against arithmetic that is done here by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hooktrace.events import Change
from hooktrace.measure import difference

NAN, INF = math.nan, math.inf
FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)

normal = st.floats(-1000, 1000, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 1e-2)
anything = st.floats(width=32)
lists = st.lists(normal, min_size=1, max_size=12)


def of(before: list[float], after: list[float], dtype: torch.dtype = torch.float32) -> Change:
    return difference(torch.tensor(before, dtype=dtype), torch.tensor(after, dtype=dtype))


# ------------------------------------------------------------------ the kinds


def test_a_doubled_tensor_is_scaled_by_two() -> None:
    change = of([1, -2, 0], [2, -4, 0])
    assert (change.kind, change.text, change.factor) == ("scaled", "x2", 2.0)
    assert (change.changed, change.total, change.max_difference) == (2, 3, 2.0)


def test_a_negated_tensor_is_scaled_by_minus_one() -> None:
    change = of([1, -2], [-1, 2])
    assert (change.kind, change.text, change.factor) == ("scaled", "x-1", -1.0)


def test_a_zeroed_tensor_has_the_factor_zero() -> None:
    change = of([1, -2, 0], [0, 0, 0])
    assert (change.kind, change.text, change.factor) == ("zeroed", "zeroed", 0.0)


def test_equal_tensors_are_unchanged() -> None:
    change = of([1, 2], [1, 2])
    assert (change.kind, change.factor, change.changed, change.total) == ("unchanged", 1.0, 0, 2)


def test_an_added_number_is_a_shift_without_a_factor() -> None:
    change = of([1, 2, 5], [1.5, 2.5, 5.5])
    assert (change.kind, change.text, change.factor) == ("shifted", "+0.5", None)
    assert of([1, 2, 5], [0, 1, 4]).text == "-1"


def test_a_single_number_is_scaled_rather_than_shifted() -> None:
    assert of([2], [3]).text == "x1.5"


def test_zeros_filled_with_a_number_are_shifted_and_never_scaled() -> None:
    change = of([0, 0, 0], [2, 2, 2])
    assert (change.kind, change.text, change.factor) == ("shifted", "+2", None)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (-1, 1, "clamped to [-1, 1]"),
        (None, 1, "clamped to <= 1"),
        (-1, None, "clamped to >= -1"),
        (0, None, "clamped to >= 0"),
    ],
)
def test_a_clamp_names_the_bounds_that_cut(
    low: float | None, high: float | None, text: str
) -> None:
    before = torch.tensor([-3.0, -1.0, 0.25, 1.0, 4.0])
    change = difference(before, before.clamp(low, high))
    assert (change.kind, change.text, change.factor) == ("clamped", text, None)


def test_anything_else_is_counted_and_its_largest_difference_given() -> None:
    change = of([1, 2, 3, 4], [1, 5, 3, -4])
    assert (change.kind, change.factor) == ("changed", None)
    assert change.text == "2 of 4 elements changed"
    assert (change.changed, change.total, change.max_difference) == (2, 4, 8.0)


def test_one_element_off_is_not_scaled() -> None:
    change = of([1, 2, 3, 4], [2, 4, 6, 8.01])
    assert (change.kind, change.factor, change.changed) == ("changed", None, 4)


def test_another_shape_or_dtype_counts_as_replaced() -> None:
    shape = difference(torch.zeros(2, 3), torch.zeros(3, 2))
    assert (shape.kind, shape.reason) == ("replaced", "shape or dtype changed")
    assert shape.text == "(2, 3) float32 -> (3, 2) float32"
    dtype = difference(torch.zeros(2), torch.zeros(2, dtype=torch.float64))
    assert dtype.text == "(2,) float32 -> (2,) float64"


# ------------------------------------------------------------------ awkward values


def test_a_nan_that_stays_is_unchanged() -> None:
    assert of([1, NAN], [1, NAN]).kind == "unchanged"


def test_a_new_nan_is_a_change_without_a_factor() -> None:
    change = of([1, 2], [2, NAN])
    assert (change.kind, change.factor, change.changed) == ("changed", None, 2)


def test_a_removed_nan_is_a_change_without_a_factor() -> None:
    change = of([1, NAN], [1, 7])
    assert (change.kind, change.factor, change.changed) == ("changed", None, 1)


def test_an_infinity_that_stays_is_unchanged_and_a_new_one_has_no_factor() -> None:
    assert of([1, INF], [1, INF]).kind == "unchanged"
    change = of([1, 2], [3, INF])
    assert (change.factor, change.changed, change.max_difference) == (None, 2, INF)
    assert of([1, INF], [1, -INF]).factor is None


def test_a_number_that_became_infinite_was_not_shifted_by_a_finite_one() -> None:
    assert of([1, 2], [2, INF]).kind == "changed"


def test_a_clamped_infinity_is_clamped() -> None:
    assert of([-1, 0, INF], [-1, 0, 5]).text == "clamped to <= 5"


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int8, torch.uint8])
def test_integers_are_measured_exactly(dtype: torch.dtype) -> None:
    assert of([2, 4, 6], [4, 8, 12], dtype).factor == 2.0
    assert of([2, 4, 6], [3, 6, 9], dtype).factor == 1.5
    assert of([2, 4, 7], [3, 5, 8], dtype).text == "+1"
    assert of([2, 4, 7], [4, 8, 15], dtype).factor is None


def test_booleans_are_only_counted() -> None:
    change = difference(torch.tensor([True, False, True]), torch.tensor([False, False, True]))
    assert (change.kind, change.text, change.factor) == ("changed", "1 of 3 elements changed", None)


def test_complex_numbers_are_only_counted() -> None:
    before = torch.tensor([1 + 1j, 2j, 0])
    change = difference(before, before * 2)
    assert (change.kind, change.factor, change.changed) == ("changed", None, 2)
    assert change.max_difference == 2.0


def test_an_empty_tensor_is_unchanged_and_has_no_factor() -> None:
    change = difference(torch.zeros(0, 3), torch.zeros(0, 3))
    assert (change.kind, change.factor, change.total) == ("unchanged", None, 0)


def test_scalars_are_measured() -> None:
    change = difference(torch.tensor(5.0), torch.tensor(10.0))
    assert (change.text, change.factor, change.total) == ("x2", 2.0, 1)
    assert difference(torch.tensor(0.0), torch.tensor(3.0)).factor is None


def test_layouts_in_memory_do_not_matter() -> None:
    before = torch.arange(6.0).reshape(2, 3)
    after = (before * 3).t().contiguous().t()
    assert not after.is_contiguous()
    assert difference(before, after).factor == 3.0
    assert difference(before, before[:1].expand(2, 3)).kind == "changed"


def test_tensors_that_require_grad_are_measured_without_a_graph() -> None:
    before = torch.ones(3, requires_grad=True)
    assert difference(before, before * 2).factor == 2.0


def test_zeros_that_stay_zeros_have_no_factor() -> None:
    assert of([0, 0], [0, 0]).factor is None


def test_a_zeroed_nan_has_no_factor() -> None:
    change = of([NAN, 1], [0, 0])
    assert (change.kind, change.factor) == ("zeroed", None)


def test_integers_beyond_53_bits_are_measured_exactly() -> None:
    change = difference(torch.tensor([2**53, 1]), torch.tensor([2**53 + 1, 1]))
    assert (change.kind, change.factor, change.max_difference) == ("changed", None, 1.0)


# ------------------------------------------------------------------ rounding


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("factor", [0.1, 1 / 3, 2.5, -7.0, 0.9])
def test_rounding_of_the_dtype_does_not_hide_a_factor(dtype: torch.dtype, factor: float) -> None:
    before = torch.linspace(-3, 5, 101, dtype=torch.float64).to(dtype)
    change = difference(before, before * factor)
    assert change.kind == "scaled"
    assert change.factor == pytest.approx(factor, rel=8 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("written", [0.1, 0.9, 2.5, -0.07])
def test_the_factor_is_the_number_that_the_author_wrote(dtype: torch.dtype, written: float) -> None:
    before = torch.tensor([0.3, 1.7, -2.9], dtype=dtype)
    assert difference(before, before * written).text == f"x{written:.6g}"


def test_a_bfloat16_factor_is_not_shortened_to_another_number() -> None:
    before = torch.tensor([0.3, 1.7, -2.9], dtype=torch.bfloat16)
    assert difference(before, before * 1.25).text == "x1.25"


@pytest.mark.parametrize("dtype", FLOATS)
def test_more_than_rounding_is_no_factor(dtype: torch.dtype) -> None:
    before = torch.tensor([1.0, 2.0, 4.0], dtype=dtype)
    after = before * 2
    after[0] *= 1 + 32 * torch.finfo(dtype).eps
    assert difference(before, after).factor is None


# ------------------------------------------------------------------ for all tensors


@settings(max_examples=80)
@given(lists.filter(any), normal.filter(lambda c: c != 0), st.sampled_from(FLOATS[:2]))
def test_c_times_a_tensor_gives_the_factor_c(
    numbers: list[float], factor: float, dtype: torch.dtype
) -> None:
    before = torch.tensor(numbers, dtype=dtype)
    change = difference(before, before * factor)
    assert change.factor == pytest.approx(factor, rel=10 * torch.finfo(dtype).eps)


@settings(max_examples=80)
@given(st.lists(st.tuples(normal, normal), min_size=1, max_size=4))
def test_a_factor_that_is_given_is_never_wrong(pairs: list[tuple[float, float]]) -> None:
    before = torch.tensor([one for one, _ in pairs], dtype=torch.float64)
    after = torch.tensor([other for _, other in pairs], dtype=torch.float64)
    factor = difference(before, after).factor
    if factor is not None:
        assert all(math.isclose(b, factor * a, rel_tol=2e-15) for a, b in pairs)
    elif pairs[0][0]:
        exact = pairs[0][1] / pairs[0][0]
        assert any(b != exact * a for a, b in pairs)


@settings(max_examples=80)
@given(st.lists(st.tuples(anything, anything), min_size=1, max_size=4))
def test_whatever_the_values_the_counts_are_right(pairs: list[tuple[float, float]]) -> None:
    change = of([one for one, _ in pairs], [other for _, other in pairs])
    different = sum(a != b and not (a != a and b != b) for a, b in pairs)
    assert (change.changed, change.total) == (different, len(pairs))
    assert (change.kind == "unchanged") == (different == 0)


@settings(max_examples=50)
@given(st.lists(normal, min_size=3, max_size=8, unique=True), st.integers(1, 50))
def test_a_shift_is_never_taken_for_a_factor(numbers: list[float], shift: int) -> None:
    before = torch.tensor(numbers, dtype=torch.float64)
    change = difference(before, before + shift)
    assert change.factor is None
    assert (change.kind, change.text) == ("shifted", f"{shift:+.6g}")
