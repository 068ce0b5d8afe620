"""The colours: text can be read on every fill, in light and in dark."""

from __future__ import annotations

import itertools

import pytest

from hooktrace.render.theme import COLOURS, ink_of

FILLS = ("paper", "leaf", "box", "operation", "cluster0", "cluster1", "changed_fill", "seen_fill",
         "raised_fill")  # fmt: skip
INKS = ("ink", "soft", "changed", "seen", "never", "raised", "written")
STROKES = ("line", "changed", "seen", "never", "raised", "written")


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def test_the_formula_gives_what_the_standard_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize(("ink", "fill"), list(itertools.product(INKS, FILLS)))
def test_text_has_the_contrast_of_level_aa(ink: str, fill: str) -> None:
    light = ink_of(ink)
    pair = next(one for one in COLOURS.values() if one[0] == light)
    for side in (0, 1):
        assert contrast(pair[side], COLOURS[fill][side]) >= 4.5


@pytest.mark.parametrize(("stroke", "fill"), list(itertools.product(STROKES, FILLS)))
def test_lines_have_the_contrast_that_graphics_need(stroke: str, fill: str) -> None:
    for side in (0, 1):
        assert contrast(COLOURS[stroke][side], COLOURS[fill][side]) >= 3


def test_no_light_colour_has_two_dark_ones() -> None:
    dark = dict(COLOURS.values())
    assert all(dark[light] == own for light, own in COLOURS.values())
