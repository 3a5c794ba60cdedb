import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as arrays

from keras_coda import metrics

SIZE, HEIGHT, WIDTH = 2, 3, 2
SHAPE = (2, SIZE * SIZE, SIZE * HEIGHT, SIZE * WIDTH)


def cell(number):
    row, column = divmod(number, SIZE)
    return slice(row * HEIGHT, (row + 1) * HEIGHT), slice(column * WIDTH, (column + 1) * WIDTH)


def oracle():
    maps = np.zeros(SHAPE, "float32")
    for number in range(SIZE * SIZE):
        maps[:, number][:, *cell(number)] = 0.1
    return maps


class TestLocalisation:
    def test_an_oracle_scores_1(self):
        np.testing.assert_array_equal(metrics.localisation(oracle(), SIZE), np.ones((2, 4)))

    def test_its_opposite_scores_0(self):
        np.testing.assert_array_equal(metrics.localisation(1 - 10 * oracle(), SIZE), np.zeros((2, 4)))

    def test_an_even_map_scores_its_part_of_the_grid(self):
        np.testing.assert_allclose(metrics.localisation(np.full(SHAPE, 0.3), SIZE), 1 / SIZE**2)

    def test_no_positive_attribution_scores_0(self):
        np.testing.assert_array_equal(metrics.localisation(-np.ones(SHAPE), SIZE), np.zeros((2, 4)))

    def test_is_equation_11(self, rng):
        maps = rng.normal(size=SHAPE)
        expected = np.zeros((2, 4))
        for grid in range(2):
            for number in range(4):
                own = sum(p for p in maps[grid, number][cell(number)].ravel() if p > 0)
                expected[grid, number] = own / sum(p for p in maps[grid, number].ravel() if p > 0)
        np.testing.assert_allclose(metrics.localisation(maps, SIZE), expected)

    @hypothesis.given(
        maps=arrays.arrays("float32", SHAPE, elements=strategies.floats(-100, 100, width=32)),
        exponent=strategies.integers(-20, 20),
    )
    def test_neither_scale_nor_negative_parts_matter(self, maps, exponent):
        scores = metrics.localisation(maps, SIZE)
        assert ((scores >= 0) & (scores <= 1)).all()
        np.testing.assert_array_equal(metrics.localisation(np.maximum(maps, 0), SIZE), scores)
        scaled = np.where(maps > 0, maps.astype("float64") * 2.0**exponent, 7 * maps.astype("float64"))
        np.testing.assert_allclose(metrics.localisation(scaled, SIZE), scores, rtol=1e-12)

    @pytest.mark.parametrize("shape", [(2, 4, 6), (2, 3, 6, 4), (2, 4, 5, 4), (2, 4, 6, 5)])
    def test_refuses_shapes(self, shape):
        with pytest.raises(ValueError, match=r"`maps` must be of shape \(grids, 4, 2 H, 2 W\)"):
            metrics.localisation(np.ones(shape), SIZE)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_refuses_nan(self, value):
        maps = oracle()
        maps[1, 2, 3, 1] = value
        with pytest.raises(ValueError, match="must be finite"):
            metrics.localisation(maps, SIZE)
