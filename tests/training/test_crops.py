"""Crops, dense targets and stills set in motion keep image and labels together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_hqsam2.training.augment import Change
from napari_hqsam2.training.clips import motion
from napari_hqsam2.training.crops import (
    CropSettings,
    Cut,
    counted,
    cut_clip,
    objects_of,
    resize_images,
    resize_labels,
)
from napari_hqsam2.training.dense import REACH, dense_target
from napari_hqsam2.training.developing import Packed
from napari_hqsam2.training.prompting import prompt_objects, targets_of
from napari_hqsam2.training.sources import Clip

CPU = torch.device("cpu")
AS_IT_IS = np.eye(2, dtype=np.float32)


def cut_of(image: np.ndarray, labels: np.ndarray, size: int) -> Cut:
    return Cut(image[None], labels[None].astype(np.int32), Change(), AS_IT_IS, size)


def test_crops_move_image_and_labels_alike() -> None:
    labels = np.zeros((1, 80, 120), dtype=np.uint16)
    labels[0, 20:50, 30:90] = 3
    image = np.where(labels > 0, 255, 0).astype(np.uint8)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        cut = cut_clip(Clip(image, labels), 128, CropSettings(), rng, split=True)
        assert cut is not None
        pictures, found = Packed.of([cut], seed).developed(CPU)
        assert pictures.shape == (1, 3, 128, 128)
        inside = found[0] == 1
        grey = pictures[0].mean(0)
        if inside.any() and not inside.all():
            # noise, blur and polarity may change, but object and ground stay apart
            assert abs(grey[inside].median() - grey[~inside].median()) > 0.1


def test_a_frame_without_labels_yields_no_crop() -> None:
    empty = Clip(np.zeros((1, 64, 64), np.uint8), np.zeros((1, 64, 64), np.uint16))
    rng = np.random.default_rng(0)
    assert cut_clip(empty, 64, CropSettings(), rng, split=False) is None


def test_a_lone_labelled_pixel_is_found() -> None:
    labels = np.zeros((1, 500, 500), np.uint16)
    labels[0, 123, 456] = 9
    clip = Clip(labels.astype(np.uint8), labels)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        cut = cut_clip(clip, 512, CropSettings(), rng, split=False)
        assert cut is not None
        assert cut.labels.max() == 1


@pytest.mark.parametrize("colour", [(), (3,)], ids=["grey", "colour"])
@pytest.mark.parametrize("floating", [False, True])
def test_developing_resizes_like_interpolation(
    colour: tuple[int, ...], floating: bool
) -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (40, 64, *colour)).astype(np.uint8)
    labels = rng.integers(0, 9, (40, 64))
    plain = image / 255 if floating else image
    other = cut_of(image[:20, :20], labels[:20, :20], 64)
    packed = Packed.of([other, cut_of(plain, labels, 64)], 0)
    pictures, found = packed.developed(CPU)
    rgb = np.broadcast_to(image if colour else image[..., None], (40, 64, 3)) / 255
    expected = resize_images(rgb[None].astype(np.float32), 64)
    torch.testing.assert_close(pictures[1:], expected, rtol=0, atol=1e-5)
    wanted = resize_labels(labels[None], (64, 64))[0]
    np.testing.assert_array_equal(found[1].numpy(), wanted)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("quarter", range(4))
def test_turned_crops_are_turned_pictures(quarter: int, flip: bool) -> None:
    rng = np.random.default_rng(4)
    image = rng.integers(0, 256, (48, 64)).astype(np.uint8)
    labels = rng.integers(0, 9, (48, 64))
    turn = np.linalg.matrix_power(np.array([[0, -1], [1, 0]]), quarter)
    turn = (turn @ np.diag([-1 if flip else 1, 1])).astype(np.float32)
    cut = cut_of(image, labels, 64)
    cuts = [cut, replace(cut, turn=turn)]
    pictures, found = Packed.of(cuts, 0).developed(CPU)
    for plain, turned in (pictures.mean(1), found):
        expected = torch.rot90(plain, quarter)
        expected = expected.flip(1) if flip else expected
        torch.testing.assert_close(turned, expected)


def test_changes_are_made_in_their_order() -> None:
    image = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    colours = np.array([[0, 1, 0, 0], [0.2, 0, 0, 0.5], [0, 0, 1, 0]])
    change = Change(0.1, 0.5, True, 2.0, 0.8, 0.1, colours)
    cut = replace(cut_of(image, image, 64), change=change)
    pictures, _ = Packed.of([cut], 0).developed(CPU)
    stretched = (1 - ((image / 255 - 0.1) / 0.5).clip(0, 1)) ** 2 * 0.8 + 0.1
    expected = np.stack([stretched, 0.2 * stretched + 0.5, stretched]).clip(0, 1)
    np.testing.assert_allclose(pictures[0].numpy(), expected, atol=1e-5)


def test_blur_and_noise_are_as_strong_as_asked() -> None:
    flat = np.full((64, 64), 128, np.uint8)
    edge = np.zeros((64, 64), np.uint8)
    edge[:, 32:] = 255
    cuts = [
        replace(cut_of(flat, flat, 64), change=Change(noise=0.05)),
        replace(cut_of(edge, flat, 64), change=Change(sigma=1.5)),
        cut_of(edge, flat, 64),
    ]
    noisy, soft, sharp = Packed.of(cuts, 7).developed(CPU)[0]
    assert float(noisy.std()) == pytest.approx(0.05, rel=0.05)
    assert torch.equal(noisy[0], noisy[1])
    slope = float(soft[0, 20, 32] - soft[0, 20, 31])
    assert slope == pytest.approx(1 / (1.5 * (2 * np.pi) ** 0.5), rel=0.03)
    assert float(sharp[0, 20, 32] - sharp[0, 20, 31]) == pytest.approx(1, abs=1e-4)
    again = Packed.of(cuts, 7).developed(CPU)[0]
    assert torch.equal(again[0], noisy)
    assert not torch.equal(Packed.of(cuts, 8).developed(CPU)[0][0], noisy)


def test_a_window_larger_than_the_crop_travels_small() -> None:
    labels = np.zeros((1, 300, 200), np.uint16)
    labels[0, 100:200, 50:150] = 70
    settings = CropSettings((0.5, 0.5), model_size=100)
    rng = np.random.default_rng(0)
    clip = Clip((labels * 3).astype(np.uint8), labels)
    cut = cut_clip(clip, 100, settings, rng, split=True)
    assert cut is not None
    assert cut.images.shape == cut.labels.shape == (1, 100, 100)
    assert cut.labels.mean() == pytest.approx(1 / 6, rel=0.05)
    assert set(np.unique(cut.images[0][cut.labels[0] > 0])) >= {210}


def test_labels_are_resized_by_the_nearest_pixel_centre() -> None:
    labels = np.array([[[1, 2], [3, 4]]])
    expected = np.repeat(np.repeat(labels, 2, axis=1), 2, axis=2)
    np.testing.assert_array_equal(resize_labels(labels, (4, 4)), expected)


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.int64, (3, 5), elements=st.sampled_from([0, 1, 4, 70, 2**40])))
def test_labels_are_counted_in_their_order(labels: np.ndarray) -> None:
    values = np.unique(np.append(labels, 0))
    np.testing.assert_array_equal(values[counted(labels)], labels)


def test_objects_may_be_split_into_pieces_and_must_have_some_size() -> None:
    labels = np.zeros((40, 40), dtype=np.int32)
    labels[2:12, 2:12] = labels[20:30, 20:30] = 5
    labels[35, 35] = 6
    assert [int(m.sum()) for m in objects_of(labels, split=False)] == [200]
    assert [int(m.sum()) for m in objects_of(labels, split=True)] == [100, 100]


@pytest.mark.parametrize("split", [False, True])
def test_targets_are_the_objects_of_a_crop(split: bool) -> None:
    labels = np.zeros((1, 64, 64), np.uint16)
    labels[0, 2:12, 2:12] = labels[0, 30:60, 20:40] = 5
    labels[0, 60:63, 60:62] = 6
    settings = CropSettings((1, 1), model_size=128)
    rng = np.random.default_rng(0)
    cut = cut_clip(Clip(labels, labels), 128, settings, rng, split=split)
    assert cut is not None
    areas = [int((cut.labels == t.value).sum()) for t in targets_of(cut)]
    assert areas == ([100, 600] if split else [700])


@settings(max_examples=40, deadline=None)
@given(
    side=st.tuples(st.integers(16, 64), st.integers(16, 64)), seed=st.integers(0, 999)
)
def test_prompts_lie_on_the_objects_of_the_picture(
    side: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = np.zeros((1, 90, 70), np.uint16)
    top, left = rng.integers(0, (60, 40))
    labels[0, top : top + rng.integers(6, 30), left : left + rng.integers(6, 30)] = 4
    crops = CropSettings((1, 1), model_size=round(64 * 90 / side[0]))
    cut = cut_clip(Clip(labels.astype(np.uint8), labels), 64, crops, rng, split=True)
    assert cut is not None
    targets = targets_of(cut)
    prompts = prompt_objects([cut], [targets * 40], rng)
    _, found = Packed.of([cut], 0).developed(CPU)
    for value, click, box in zip(
        prompts.values, prompts.clicks, prompts.boxes, strict=True
    ):
        column, row = (click[0] * 64).astype(int)
        assert found[0, row, column] == value
        assert (box[0] <= box[1]).all()
        assert box.min() >= 0
        assert box.max() <= 1
    boxes = (prompts.boxes * 64 - 0.5).reshape(-1, 4)
    if len(targets):
        rows, columns = np.nonzero(found[0].numpy() == targets[0].value)
        exact = (columns.min(), rows.min(), columns.max(), rows.max())
        assert np.isclose(boxes, exact, atol=1e-3).all(1).any()


def test_dense_target_of_one_square() -> None:
    labels = torch.zeros(2, 32, 32, dtype=torch.int16)
    labels[1, 8:24, 8:24] = 1
    nothing, target = dense_target(labels, 1)
    assert target.shape == (4, 8, 8)
    assert not nothing.any()
    expected = torch.zeros(8, 8)
    expected[2:6, 2:6] = 1
    torch.testing.assert_close(target[0], expected)
    # the middle of the cell at row 2, column 5 is (9.5, 21.5); the centre is 15.5
    torch.testing.assert_close(target[2:, 2, 5], torch.tensor([6, -6]) / REACH)
    assert target[1, 0, 0] == 0
    assert target[1, 1, 3] > 0


def test_dense_targets_do_not_depend_on_the_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 5, (3, 32, 32), generator=generator)
    labels = labels.repeat_interleave(8, 1)[:, :32].short()
    together = dense_target(labels, 9)
    for one, expected in zip(labels, together, strict=True):
        torch.testing.assert_close(dense_target(one[None], 4)[0], expected)


def test_moved_stills_start_at_rest_and_keep_their_labels() -> None:
    labels = np.zeros((64, 64), dtype=np.int32)
    labels[20:44, 24:40] = 1
    image = np.where(labels > 0, 255, 0).astype(np.uint8)
    walk = motion(np.random.default_rng(1), 4)
    packed = Packed.of([cut_of(image, labels, 64)], 0, [walk])
    images, moved = packed.developed(CPU)
    torch.testing.assert_close(images[0, 0], torch.from_numpy(image / 255).float())
    np.testing.assert_array_equal(moved[0].numpy(), labels)
    assert not torch.equal(moved[3].int(), moved[0].int())
    for picture, truth in zip(images, moved, strict=True):
        assert ((picture[0] > 0.5) == (truth == 1)).float().mean() > 0.98


def test_what_comes_in_at_the_border_mirrors_the_picture_unlabelled() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 64)).astype(np.uint8)
    labels = np.ones((64, 64), np.int32)
    shift = np.array([[[1, 0, 0.5], [0, 1, 0]]])
    packed = Packed.of([cut_of(image, labels, 64)], 0, [shift])
    images, moved = packed.developed(CPU)
    whole = [1, 1, 64, 64]
    affine = F.affine_grid(torch.tensor(shift).float(), whole, align_corners=False)
    expected = F.grid_sample(
        torch.from_numpy(image / 255).float()[None, None],
        affine,
        padding_mode="reflection",
        align_corners=False,
    )
    torch.testing.assert_close(images[0, 0], expected[0, 0], rtol=0, atol=1e-4)
    assert moved[0, :, :48].all()
    assert not moved[0, :, 48:].any()
