"""The picture that the model is given, with a small model and real sessions."""

import numpy as np
import pytest
import torch

from napari_hqsam2 import (
    FramePrompts,
    Mix,
    MixChannel,
    PointPrompt,
    Session,
    segment_stack,
)
from napari_hqsam2.predictors.transforms import from_model_image, to_model_image
from napari_hqsam2.segmentation.crops import Crop

SIDE = 64


@pytest.fixture(scope="module")
def predictor(make_untrained):
    return make_untrained(SIDE)


def seen(predictor, stack, axes="TYX", **options):
    return Session(stack, axes=axes, model=predictor, **options)


def test_a_picture_of_the_models_size_is_shown_as_it_is(predictor, rng):
    stack = rng.integers(0, 4000, (3, SIDE, SIDE), dtype=np.uint16)
    session = seen(predictor, stack, contrast_limits=(1000, 3000), crop="off")
    view = session.model_view(2)
    assert view.crop == Crop(0, 0, SIDE, SIDE)
    expected = np.clip((stack[2].astype(float) - 1000) / 2000, 0, 1) * 255
    for channel in range(3):
        np.testing.assert_allclose(view.picture[..., channel], expected, atol=0.51)


def test_channels_are_red_green_and_blue(predictor):
    stack = np.zeros((3, 2, 40, 90), dtype=np.uint8)
    stack[0], stack[2] = 200, 100
    session = seen(predictor, stack, "CTYX", channels=(2, 0), crop="off")
    view = session.model_view(1)
    assert view.crop == Crop(0, 0, 40, 90)
    assert view.picture.shape == (SIDE, SIDE, 3)
    assert view.picture[10, 20].tolist() == [100, 200, 0]


def test_gamma_is_shown(predictor, rng):
    stack = rng.integers(0, 4000, (3, SIDE, SIDE), dtype=np.uint16)
    session = seen(
        predictor, stack, contrast_limits=(1000, 3000), gamma=0.5, crop="off"
    )
    expected = np.clip((stack[2].astype(float) - 1000) / 2000, 0, 1) ** 0.5 * 255
    shown = session.model_view(2).picture
    np.testing.assert_allclose(shown[..., 0], expected, atol=0.51)
    session.configure(gamma=1.0)
    assert (session.model_view(2).picture != shown).any()


@pytest.fixture
def mixed(rng):
    """Two stacks, and a mix of them."""
    own = rng.integers(0, 4000, (3, SIDE, SIDE), dtype=np.uint16)
    other = rng.integers(0, 255, own.shape, dtype=np.uint8)
    mix = Mix(blue=MixChannel(None, (0, 4000)), red=MixChannel(other, (0, 255), 2.0))
    return own, other, mix


def test_a_mix_is_shown_and_used(predictor, mixed):
    own, other, mix = mixed
    session = seen(predictor, own, mix=mix, crop="off")
    picture = session.model_view(1).picture
    red, blue = (other[1] / 255.0) ** 2 * 255, own[1] / 4000 * 255
    np.testing.assert_allclose(picture[..., 0], red, atol=0.51)
    assert not picture[..., 1].any()
    np.testing.assert_allclose(picture[..., 2], blue, atol=0.51)
    prompts = [FramePrompts((0,), 1, (PointPrompt(20, 30),))]
    options = {"axes": "TYX", "model": predictor}
    labels = segment_stack(own, prompts, mix=mix, **options)
    session = Session(own, mix=mix, **options)
    session.new_object()
    session.add_points(1, [(0, 20, 30)])
    list(session.propagate())
    np.testing.assert_array_equal(session.labels, labels)
    as_bytes = np.stack([other, np.zeros_like(other), other], axis=1)
    alike = Mix(red=MixChannel(other, (0, 255)), blue=MixChannel(other, (0, 255)))
    np.testing.assert_array_equal(
        segment_stack(own, prompts, mix=alike, **options),
        segment_stack(
            as_bytes,
            prompts,
            axes="TCYX",
            model=predictor,
            channels=(0, 1, 2),
            contrast_limits=(0, 255),
        ),
    )


def test_a_mix_is_a_step_and_part_of_the_script(predictor, mixed):
    own, other, mix = mixed
    session = seen(predictor, own, crop="off")
    plain = session.model_view(0).picture
    session.configure(mix=mix)
    shown = session.model_view(0).picture
    script = session.as_python()
    assert "from napari_hqsam2 import Mix, MixChannel, Session" in script
    assert "# red_stack: the array that was shown as red" in script
    assert "blue_stack" not in script
    names = {"stack": own, "model": predictor, "red_stack": other}
    exec(script, names)  # noqa: S102
    np.testing.assert_array_equal(names["session"].model_view(0).picture, shown)
    assert session.undo() == "settings"
    np.testing.assert_array_equal(session.model_view(0).picture, plain)
    first = seen(predictor, own, mix=mix, gamma=0.5, crop="off").as_python()
    exec(first, names)  # noqa: S102
    assert names["session"].settings.mix == mix
    assert names["session"].settings.gamma == 0.5


def test_a_saved_session_names_its_mix(predictor, mixed, tmp_path, caplog):
    own, _, mix = mixed
    session = seen(predictor, own, mix=mix, gamma=0.5)
    session.save(tmp_path / "saved")
    again = Session.load(tmp_path / "saved", own, model=predictor)
    assert "(red: another stack, blue: the stack), which are not saved" in caplog.text
    assert (again.settings.mix, again.settings.gamma) == (None, 0.5)
    again.configure(mix=mix)
    assert again.provenance()["mix"] == "red: another stack, blue: the stack"


def test_an_object_is_seen_in_its_window(predictor, rng):
    stack = rng.integers(0, 255, (2, 200, 300), dtype=np.uint8)
    labels = np.zeros(stack.shape, dtype=np.int32)
    labels[0, 150:158, 250:260] = 1
    session = seen(predictor, stack, labels=labels)
    session.new_object(obj_id=1)
    there, elsewhere = session.model_view(0, 1), session.model_view(1, 1)
    assert elsewhere.crop == Crop(0, 0, 200, 300)
    crop = there.crop
    assert crop.top <= 150
    assert crop.left <= 250
    assert 158 <= crop.top + crop.height <= 200
    assert 260 <= crop.left + crop.width <= 300
    assert crop.width < 150
    session.add_points(1, [(1, 20, 30)])
    clicked = session.model_view(1, 1).crop
    assert clicked.top <= 20 < clicked.top + clicked.height
    assert clicked.width < 300


def test_an_object_that_was_given_as_a_mask_is_seen_too(predictor, rng):
    session = seen(predictor, rng.integers(0, 255, (200, 300), dtype=np.uint8), "YX")
    mask = np.zeros((200, 300), dtype=bool)
    mask[150:158, 250:260] = True
    session.add_mask(session.new_object(), (), mask)
    session.segment(())
    crop = session.model_view((), 1).crop
    assert crop.top <= 150
    assert crop.left <= 250
    assert crop.width < 150


def test_the_normalisation_is_taken_back_exactly(rng):
    rgb = rng.random((8, 8, 3), dtype=np.float32)
    image = to_model_image(rgb, 8, torch.device("cpu"), "bicubic")
    np.testing.assert_allclose(from_model_image(image), rgb, atol=1e-6)
