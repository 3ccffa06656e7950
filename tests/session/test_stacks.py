"""Lines of frames through stacks of any axes."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest

from napari_hqsam2.errors import PromptError, StackError
from napari_hqsam2.predictors.feature_cache import FeatureCache
from napari_hqsam2.segmentation.mixing import Mix, MixChannel
from napari_hqsam2.segmentation.options import ImageSettings
from napari_hqsam2.session import stacks
from napari_hqsam2.session.stacks import Line, LineFeatures, SessionStack


def opened(stack, axes=None, **options):
    return SessionStack(stack, axes, ImageSettings(**options), ExitStack())


@pytest.fixture
def tzyx(rng):
    return rng.integers(0, 255, (3, 4, 8, 9), dtype=np.uint8)


def test_lines_along_every_axis(tzyx):
    stack = opened(tzyx, "TZYX")
    along_t, along_z = stack.line((2, 1), "T"), stack.line((2, 1), "Z")
    assert along_t == Line("T", 0, (0, 1))
    assert along_z == Line("Z", 1, (2, 0))
    assert (stack.length(along_t), stack.length(along_z)) == (3, 4)
    assert along_z.position(3) == (2, 3)
    assert along_z.frame((2, 3)) == 3
    assert (2, 3) in along_z
    assert (1, 3) not in along_z
    frames = stack.frames(along_t, range(1, 3))
    np.testing.assert_array_equal(frames.read(1), tzyx[2, 1])
    assert [stack.number((t, 1)) for t in range(3)] == [1, 5, 9]
    assert stack.default_axis() == "Z"


@pytest.mark.parametrize(
    ("shape", "axes"), [((8, 9), "YX"), ((8, 9), None), ((8, 9, 3), "YXC")]
)
def test_a_single_image_is_one_frame(rng, shape, axes):
    image = rng.integers(0, 255, shape, dtype=np.uint8)
    stack = opened(image, axes)
    line = stack.line((), stack.default_axis())
    assert stack.axes.labels_shape == (8, 9)
    assert (stack.length(line), line.position(0), stack.number(())) == (1, (), 0)
    np.testing.assert_array_equal(stack.frames(line, range(1)).read(0), image)


def test_positions_are_checked(tzyx):
    stack = opened(tzyx, "TZYX")
    assert stack.position(np.array([1, 2])) == (1, 2)
    with pytest.raises(PromptError, match="give 2 indices, one for each of T, Z"):
        stack.position(3)
    with pytest.raises(PromptError, match="no frame T=3, Z=0"):
        stack.position((3, 0))
    with pytest.raises(PromptError, match="indices begin at 0"):
        stack.position((0, -1))
    assert opened(tzyx[0], "ZYX").position(2) == (2,)


def test_fingerprints_tell_stacks_apart(tzyx):
    first = opened(tzyx, "TZYX").fingerprint
    assert opened(tzyx.copy(), "TZYX").fingerprint == first
    assert opened(tzyx, "ZTYX").fingerprint != first
    assert opened(tzyx.astype(np.uint16), "TZYX").fingerprint != first
    other = tzyx.copy()
    other[-1, -1, 0, 0] += 1
    assert opened(other, "TZYX").fingerprint != first


def test_a_fingerprint_is_of_all_channels_and_once_was_of_those_seen(rng):
    stack = rng.integers(0, 255, (5, 3, 8, 9), dtype=np.uint8)
    first = opened(stack, "CTYX", channels=(0,))
    second = opened(stack, "CTYX", channels=(3, 1))
    assert first.fingerprint == second.fingerprint
    once = opened(stack[3], "TYX").fingerprint
    assert not first.has_fingerprint(once)
    assert first.has_fingerprint(second.fingerprint)
    legacy = stacks._Fingerprint(second.axes, [second._plain]).finish()
    assert legacy != second.fingerprint
    assert second.has_fingerprint(legacy)
    assert not first.has_fingerprint(legacy)
    colours = np.moveaxis(stack[:3], 0, -1)
    whole = opened(colours, "TYXC").fingerprint
    assert opened(colours, "TYXC", channels=(1,)).fingerprint == whole


def test_of_large_frames_windows_are_read(rng, monkeypatch):
    monkeypatch.setattr(stacks, "LARGE", 300)
    monkeypatch.setattr(stacks, "WINDOW", 4)
    stack = rng.integers(0, 255, (2, 17, 40), dtype=np.uint8)
    first, other = opened(stack, "TYX"), stack.copy()
    other[1, 16, 39] += 1
    assert opened(stack.copy(), "TYX").has_fingerprint(first.fingerprint)
    assert not opened(other, "TYX").has_fingerprint(first.fingerprint)
    other = stack.copy()
    other[1, 1, 6] += 1
    assert opened(other, "TYX").fingerprint == first.fingerprint
    monkeypatch.setattr(stacks, "LARGE", 2000)
    assert opened(other, "TYX").fingerprint != opened(stack, "TYX").fingerprint


def test_a_fingerprint_goes_on_where_reading_failed(tzyx):
    class Failing:
        shape, dtype, ndim = tzyx.shape, tzyx.dtype, 4
        reads = 0

        def __getitem__(self, key):
            self.reads += 1
            if self.reads == 4:
                msg = "the network is down"
                raise OSError(msg)
            return tzyx[key]

    source = Failing()
    stack = opened(source, "TZYX")
    with pytest.raises(StackError, match="network is down"):
        _ = stack.fingerprint
    assert stack.fingerprint == opened(tzyx, "TZYX").fingerprint
    assert source.reads == 6


def test_limits_are_looked_for_once_and_can_change(tzyx):
    stack = opened(tzyx.astype(np.uint16), "TZYX")
    assert stack.limits is stack.limits
    assert opened(tzyx, "TZYX", contrast_limits=(3, 5)).limits == (3, 5)
    stack.show(ImageSettings(contrast_limits=(1, 2)))
    assert stack.limits == (1, 2)
    stack.show(ImageSettings(contrast_limits=(1, 2), gamma=0.5))
    assert stack.limits == (1, 2, 0.5)


def test_a_mix_changes_what_is_shown_and_not_what_the_stack_is(tzyx):
    stack = opened(tzyx, "TZYX")
    before = stack.fingerprint
    mix = Mix(green=MixChannel(), blue=MixChannel(tzyx[::-1].astype(np.uint16)))
    stack.show(ImageSettings(mix=mix, contrast_limits=(3, 5), gamma=2))
    line = stack.line((2, 1), "T")
    frame = stack.frames(line, range(3)).read(2)
    np.testing.assert_array_equal(frame[..., 0], 0)
    np.testing.assert_array_equal(frame[..., 1], tzyx[2, 1])
    np.testing.assert_array_equal(frame[..., 2], tzyx[0, 1])
    assert stack.limits[:2] == ((0, 1, 1), (3, 5, 2))
    assert stack.axes.letters == "TZYX"
    assert stack.fingerprint == before
    assert opened(tzyx, "TZYX", mix=mix).fingerprint == before


def test_a_path_is_opened_and_closed(tmp_path, tzyx):
    np.save(tmp_path / "stack.npy", tzyx)
    stack = opened(tmp_path / "stack.npy", "TZYX")
    assert stack.axes.leading == "TZ"
    with pytest.raises(StackError, match="no file"):
        opened(tmp_path / "other.npy")


class Features:
    nbytes = 10


def test_lines_share_features():
    shared = FeatureCache(100)
    along_t, along_z = LineFeatures(shared, [1, 5, 9]), LineFeatures(shared, [4, 5, 6])
    features = Features()
    along_t.put(1, features)
    assert 1 in along_z
    assert along_z.get(1) is features
    assert 0 not in along_z
    assert (len(along_z), along_z.nbytes) == (1, 10)
    along_z.clear()
    assert along_t.get(1) is None
