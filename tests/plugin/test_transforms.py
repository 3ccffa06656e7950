import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from napari.layers import Image, Points

from napari_hqsam2.plugin.transforms import LayerAffine, between_layers

pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")

NON_ZERO = st.one_of(st.floats(0.05, 20), st.floats(-20, -0.05))
SHIFT = st.floats(-1000, 1000)
ANGLE = st.floats(-180, 180)
SHEAR = st.floats(-1.5, 1.5)


@st.composite
def transforms(draw, ndim):
    """Any transform that napari lets a layer have."""
    size = ndim * (ndim - 1) // 2
    options = {
        "scale": draw(st.lists(st.floats(0.05, 20), min_size=ndim, max_size=ndim)),
        "translate": draw(st.lists(SHIFT, min_size=ndim, max_size=ndim)),
        "shear": draw(st.lists(SHEAR, min_size=size, max_size=size)),
    }
    if ndim == 2:
        options["rotate"] = draw(ANGLE)
    else:
        options["rotate"] = draw(st.tuples(ANGLE, ANGLE, ANGLE))
    affine = np.eye(ndim + 1)
    affine[:-1, -1] = draw(st.lists(SHIFT, min_size=ndim, max_size=ndim))
    affine[-2, -2] = draw(NON_ZERO)
    return {**options, "affine": affine}


@pytest.mark.parametrize("ndim", [2, 3])
def test_probe_agrees_with_napari(ndim):
    @settings(max_examples=30, deadline=None)
    @given(transforms(ndim), arrays(float, (3, ndim), elements=st.floats(-50, 50)))
    def check(options, coordinates):
        layer = Image(np.zeros((2,) * ndim), **options)
        affine = LayerAffine.probe(layer.data_to_world, ndim)
        world = np.array([layer.data_to_world(row) for row in coordinates])
        np.testing.assert_allclose(affine.to_world(coordinates), world, atol=1e-6)
        back = np.array([layer.world_to_data(row) for row in world])
        np.testing.assert_allclose(affine.to_data(world), back, atol=1e-4)

    check()


@pytest.mark.parametrize("ndim", [2, 3])
def test_round_trip_between_any_two_layers(ndim):
    @settings(max_examples=30, deadline=None)
    @given(
        transforms(ndim),
        transforms(ndim),
        arrays(float, (4, ndim), elements=st.floats(-50, 50)),
    )
    def check(one, other, in_image):
        image = Image(np.zeros((2,) * ndim), **one)
        points = Points(np.zeros((1, ndim)), **other)
        source = LayerAffine.probe(points.data_to_world, ndim)
        target = LayerAffine.probe(image.data_to_world, ndim)
        drawn = np.array(
            [points.world_to_data(image.data_to_world(row)) for row in in_image]
        )
        found = between_layers(drawn, source, target, np.zeros(ndim))
        np.testing.assert_allclose(found, in_image, atol=1e-3)

    check()


def test_fewer_axes_take_the_frame_on_show():
    flat = LayerAffine(np.eye(2) * 2, np.zeros(2))
    stack = LayerAffine(np.diag([3.0, 1.0, 1.0]), np.array([6.0, 0.0, 0.0]))
    found = between_layers([[4, 5]], flat, stack, [21.0, 0.0, 0.0])
    np.testing.assert_allclose(found, [[5, 8, 10]])


def test_more_axes_drop_what_the_image_lacks():
    deep = LayerAffine(np.eye(3), np.zeros(3))
    flat = LayerAffine(np.eye(2) * 2, np.zeros(2))
    found = between_layers([[7, 4, 6]], deep, flat, [0.0, 0.0, 0.0])
    np.testing.assert_allclose(found, [[2, 3]])


def test_units_scale_the_world():
    layer = Image(np.zeros((4, 4)), scale=(0.5, 0.5), translate=(1, 0))
    micrometre = LayerAffine.probe(layer.data_to_world, 2, [1000, 1000])
    np.testing.assert_allclose(micrometre.to_world([[2, 2]]), [[2000, 1000]])


def test_closeness_is_judged_over_the_whole_array():
    one = LayerAffine(np.eye(2), np.zeros(2))
    turned = LayerAffine(np.array([[1.0, 1e-5], [-1e-5, 1.0]]), np.zeros(2))
    assert one.is_close(turned, (100, 100))
    assert not one.is_close(turned, (10_000, 10_000))
    assert not one.is_close(LayerAffine(np.eye(2), np.array([0.5, 0])), (4, 4))
