from __future__ import annotations

import re
import tracemalloc
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
import pytest
import zarr

from napari_hqsam2.axes import resolve_axes
from napari_hqsam2.errors import StackError
from napari_hqsam2.predictors.frame_source import (
    ArrayFrameSource,
    FrameSource,
    open_frames,
)

if TYPE_CHECKING:
    from pathlib import Path


class Recording:
    """A lazy array that notes each key it is indexed with."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.shape = array.shape
        self.dtype = array.dtype
        self.keys: list[Any] = []

    def __getitem__(self, key: Any) -> Any:
        self.keys.append(key)
        return self.array[key]

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        pytest.fail("the whole array was asked for")


class Failing(Recording):
    """A lazy array with one frame that raises or comes out wrong."""

    bad_frame = 2

    def __init__(self, array: np.ndarray, outcome: object) -> None:
        super().__init__(array)
        self.outcome = outcome

    def __getitem__(self, key: Any) -> Any:
        if key[0] != self.bad_frame:
            return self.array[key]
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def stack(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 65535, (5, 12, 16), np.uint16)


def frames_of(source: FrameSource) -> np.ndarray:
    return np.stack([source.read(index) for index in range(len(source))])


@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr2", "zarr3", "memmap", "list"])
def test_every_kind_of_array_gives_its_frames(
    stack: np.ndarray, tmp_path: Path, kind: str
) -> None:
    video: Any = stack
    if kind == "dask":
        video = da.from_array(stack, chunks=(2, 5, 16))
    elif kind.startswith("zarr"):
        video = zarr.create_array(
            tmp_path / "a.zarr",
            data=stack,
            chunks=(1, 12, 16),
            zarr_format=int(kind[-1]),  # type: ignore[arg-type]
        )
    elif kind == "memmap":
        np.save(tmp_path / "a.npy", stack)
        video = np.load(tmp_path / "a.npy", mmap_mode="r")
    elif kind == "list":
        video = list(stack)
    source = open_frames(video)
    assert isinstance(source, FrameSource)
    assert (len(source), source.hw) == (5, (12, 16))
    np.testing.assert_array_equal(frames_of(source), stack)
    assert source.read(0).dtype == np.uint16


@pytest.mark.parametrize("name", ["stack.npy", "v2.zarr", "v3.zarr"])
def test_stored_arrays_open_by_path(
    stack: np.ndarray, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    if name.endswith(".npy"):
        np.save(path, stack)
    else:
        zarr.create_array(path, data=stack, zarr_format=int(name[1]))  # type: ignore[arg-type]
    for video in (path, str(path)):
        np.testing.assert_array_equal(frames_of(open_frames(video)), stack)
    np.testing.assert_array_equal(
        open_frames(path, axes="YTX").read(3), stack.transpose(1, 0, 2)[3]
    )


def test_only_the_frame_asked_for_is_indexed(stack: np.ndarray) -> None:
    lazy = Recording(stack)
    source = open_frames(lazy)
    assert lazy.keys == []
    source.read(3)
    assert lazy.keys == [(3, slice(None), slice(None))]


def test_chosen_channels_are_indexed_one_by_one(rng: np.random.Generator) -> None:
    stack = rng.random((4, 7, 12, 16), np.float32)
    lazy = Recording(stack)
    frame = open_frames(lazy, axes="TCYX", channels=(5, 0)).read(1)
    np.testing.assert_array_equal(frame, stack[1][[5, 0]].transpose(1, 2, 0))
    assert [key[:2] for key in lazy.keys] == [(1, 5), (1, 0)]


def test_a_stack_larger_than_memory_is_not_copied(tmp_path: Path) -> None:
    shape = (4096, 256, 256)
    stack = np.memmap(tmp_path / "big", np.uint16, "w+", shape=shape)
    stack[4000, 1, 2] = 7
    strided = stack[::-1, :, ::2]
    tracemalloc.start()
    frame = open_frames(strided).read(95)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert frame[1, 1] == 7
    assert peak < stack[0].nbytes


def test_a_dask_stack_computes_one_frame(stack: np.ndarray) -> None:
    computed: list[int] = []

    def load(index: int) -> np.ndarray:
        computed.append(index)
        return stack[index]

    lazy = da.stack(
        [
            da.from_delayed(dask.delayed(load)(index), stack[0].shape, stack.dtype)
            for index in range(len(stack))
        ]
    )
    np.testing.assert_array_equal(open_frames(lazy).read(4), stack[4])
    assert computed == [4]


def test_frames_cannot_be_written_through(stack: np.ndarray) -> None:
    frame = open_frames(stack).read(0)
    with pytest.raises(ValueError, match="read-only"):
        frame[0, 0] = 1
    stack[0, 0, 0] += 1
    assert stack.flags.writeable


@pytest.mark.parametrize(
    ("shape", "axes", "channels", "expected"),
    [
        ((5, 12, 16, 1), None, None, (12, 16)),
        ((5, 12, 16, 3), None, None, (12, 16, 3)),
        ((5, 12, 16, 4), None, None, (12, 16, 4)),
        ((5, 12, 16, 3), None, (2,), (12, 16)),
        ((5, 12, 16, 9), None, (8, 0), (12, 16, 2)),
        ((5, 12, 16, 9), None, (8, 0, 8), (12, 16, 3)),
        ((5, 12, 16), None, (0,), (12, 16)),
        ((12, 16, 5), "YXZ", None, (12, 16)),
        ((16, 5, 12), "XTY", None, (12, 16)),
        ((2, 5, 12, 16), "CTYX", (1,), (12, 16)),
        ((5, 3, 12, 16), "tcyx", None, (12, 16, 3)),
        ((5, 12, 3), "TYX", None, (12, 3)),
        ((1, 1, 1), None, None, (1, 1)),
        ((5, 1, 100), None, None, (1, 100)),
    ],
)
def test_axes_and_channels(
    shape: tuple[int, ...],
    axes: str | None,
    channels: tuple[int, ...] | None,
    expected: tuple[int, ...],
) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    source = open_frames(array, axes=axes, channels=channels)
    letters = axes.upper() if axes else "TYXC"[: len(shape)]
    moved = np.moveaxis(array, letters.replace("Z", "T").index("T"), 0)
    left = letters.replace("Z", "").replace("T", "")
    moved = moved.transpose(
        0, *(left.index(letter) + 1 for letter in "YXC" if letter in left)
    )
    if channels is not None and moved.ndim == 4:
        moved = moved[..., list(channels)]
    frame = source.read(len(source) - 1)
    assert frame.shape == expected
    assert source.hw == expected[:2]
    np.testing.assert_array_equal(frame, moved[-1].reshape(expected))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((12, 16), {}, r"single 2D image.*image\[np.newaxis\]"),
        ((12, 16, 3), {}, "one colour image.*axes='TYX'"),
        ((2, 5, 12, 16, 3), {}, "5 dimensions"),
        ((7,), {}, "1 dimensions"),
        ((0, 12, 16), {}, "empty: T=0"),
        ((5, 0, 16), {}, "empty: T=5, Y=0"),
        ((5, 3, 12, 16), {}, "16 channels.*axes='TCYX'.*moveaxis"),
        ((5, 30, 12, 16), {}, r"16 channels.*axes='TZYX', axis='Z'"),
        ((5, 12, 16, 2), {}, r"2 channels.*channels=\(0,\)"),
        ((5, 4, 12, 16), {"axes": "TCYX"}, "4 channels"),
        ((5, 12, 16, 9), {"channels": (9,)}, "channels 0 to 8"),
        ((5, 12, 16, 9), {"channels": (-1,)}, "channels 0 to 8"),
        ((5, 12, 16, 9), {"channels": ()}, "one to three"),
        ((5, 12, 16, 9), {"channels": (0, 1, 2, 3)}, "one to three"),
        ((5, 12, 16), {"axes": "TZYX"}, "names 4 axes but the array has 3"),
        ((5, 12, 16), {"axes": "TZX"}, "must hold Y and X"),
        ((5, 12, 16), {"axes": "YXC"}, "one axis besides Y, X and C"),
        ((2, 5, 12, 16), {"axes": "TZYX"}, "one axis besides Y, X and C"),
    ],
)
def test_what_is_not_a_stack_is_refused(
    shape: tuple[int, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(StackError, match=message):
        open_frames(np.zeros(shape, np.uint8), **options)


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (np.complex64, r"complex64.*np\.abs"),
        (object, r"object.*np\.stack"),
        ("datetime64[s]", "datetime64"),
        ("U3", "astype"),
        ([("a", "u1"), ("b", "u1")], "astype"),
    ],
)
def test_values_that_are_not_real_are_refused(dtype: Any, message: str) -> None:
    with pytest.raises(StackError, match=message):
        open_frames(np.zeros((3, 4, 5), dtype))


def test_lengths_that_are_not_known_are_refused(stack: np.ndarray) -> None:
    bright = da.from_array(stack, chunks=(1, *stack.shape[1:]))
    bright = bright[da.from_array(stack[:, 0, 0] >= 0, chunks=1)]
    with pytest.raises(StackError, match=r"nan.*compute_chunk_sizes\(\)"):
        open_frames(bright)
    with pytest.raises(StackError, match="compute_chunk_sizes"):
        resolve_axes(bright.shape)
    assert len(open_frames(bright.compute_chunk_sizes())) == len(stack)


def test_types_that_numpy_does_not_know_are_refused() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(StackError, match=r"torch\.float32.*pass a NumPy array"):
        open_frames(torch.zeros(3, 4, 5))


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (OSError("chunk 2.0.0 is damaged"), "OSError: chunk 2.0.0 is damaged"),
        (KeyError("codec"), "KeyError: 'codec'"),
        (RuntimeError(), r"\(RuntimeError\)"),
        (np.zeros((12, 15), np.uint16), r"shape \(12, 15\).*promises \(12, 16\)"),
        (np.zeros((12, 16, 1), np.uint16), r"shape \(12, 16, 1\)"),
        (np.zeros((12, 16), np.float32), "dtype float32.*promises uint16"),
        (np.zeros((12, 16), complex), "complex128"),
    ],
)
def test_a_frame_that_goes_wrong_is_named_and_the_others_stay(
    stack: np.ndarray, outcome: object, message: str
) -> None:
    source = open_frames(Failing(stack, outcome))
    with pytest.raises(StackError, match=f"Frame 2 of the Failing stack.*{message}"):
        source.read(2)
    np.testing.assert_array_equal(source.read(1), stack[1])


def test_running_out_of_memory_is_not_a_bad_frame(stack: np.ndarray) -> None:
    with pytest.raises(MemoryError):
        open_frames(Failing(stack, MemoryError())).read(2)


def test_a_damaged_zarr_chunk_costs_one_frame(
    stack: np.ndarray, tmp_path: Path
) -> None:
    zarr.create_array(tmp_path, data=stack, chunks=(1, 12, 16), zarr_format=3)
    (tmp_path / "c" / "2" / "0" / "0").write_bytes(b"not a chunk")
    (tmp_path / "c" / "3" / "0" / "0").unlink()
    source = open_frames(tmp_path)
    with pytest.raises(StackError, match="Frame 2 of"):
        source.read(2)
    np.testing.assert_array_equal(source.read(4), stack[4])
    assert not source.read(3).any()  # a missing chunk is the fill value


@pytest.mark.parametrize("index", [-1, 5, 10**9])
def test_frames_that_do_not_exist(stack: np.ndarray, index: int) -> None:
    for video in (stack, list(stack)):
        with pytest.raises(StackError, match=f"0 to 4; frame {index} does not"):
            open_frames(video).read(index)
    assert open_frames(stack).read(np.int64(4)).shape == (12, 16)  # type: ignore[arg-type]


def test_foreign_byte_order_is_kept(stack: np.ndarray) -> None:
    source = open_frames(stack.astype(">u2"))
    np.testing.assert_array_equal(frames_of(source), stack)


def test_lists_stay_lazy_and_must_be_alike(stack: np.ndarray) -> None:
    lazy = [Recording(frame) for frame in stack]
    source = open_frames(lazy)
    np.testing.assert_array_equal(source.read(3), stack[3])
    assert [len(item.keys) for item in lazy] == [0, 0, 0, 1, 0]
    colour = [np.zeros((12, 16, 3), np.uint8)] * 2
    assert open_frames(colour).read(1).shape == (12, 16, 3)
    with pytest.raises(StackError, match=r"Frame 1 .*\(12, 15\).*frame 0.*\(12, 16\)"):
        open_frames([stack[0], stack[1, :, :-1]])
    with pytest.raises(StackError, match=r"Frame 2 .* float64 .*frame 0 is uint16"):
        open_frames([stack[0], stack[1], stack[2] / 2])


@pytest.mark.parametrize(
    ("video", "message"),
    [
        ([], "empty"),
        ([[1, 2], [3, 4]], "Item 0 of the list is a list"),
        ([np.zeros((2, 3)), "a.png"], "Item 1 of the list is a str"),
        (
            [np.zeros((5, 64, 64, 3)), np.zeros((5, 32, 32, 3))],
            r"multiscale.*data\[0\]",
        ),
        (7, "A int is not a stack"),
        (None, "A NoneType is not a stack"),
        ({1, 2}, "A set is not a stack"),
        ("nowhere/at/all.tif", "cannot be opened .*No such file"),
    ],
)
def test_other_things_are_refused(video: Any, message: str) -> None:
    with pytest.raises(StackError, match=message):
        open_frames(video)


def test_axes_are_refused_where_they_are_known(
    stack: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    source = open_frames(stack)
    for video in (list(stack), source, tmp_path / "a.mp4"):
        with pytest.raises(StackError, match="axes='TYX' can be given only for arrays"):
            open_frames(video, axes="TYX")
    assert open_frames(source) is source


def test_a_choice_of_channels_wraps_any_source(rng: np.random.Generator) -> None:
    stack = rng.integers(0, 255, (3, 4, 5, 3), np.uint8)
    source = open_frames(stack)
    assert isinstance(source, ArrayFrameSource)
    chosen = open_frames(source, channels=(2, 0))
    assert (len(chosen), chosen.hw) == (3, (4, 5))
    np.testing.assert_array_equal(chosen.read(1), stack[1][..., [2, 0]])
    np.testing.assert_array_equal(
        open_frames(source, channels=(1,)).read(2), stack[2, ..., 1]
    )
    with pytest.raises(StackError, match=r"channels=\(3,\).*0 to 2"):
        open_frames(source, channels=(3,))
    grey = open_frames(open_frames(stack[..., 0]), channels=(0,))
    np.testing.assert_array_equal(grey.read(0), stack[0, ..., 0])


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_zarr_group_names_its_arrays(tmp_path: Path, zarr_format: int) -> None:
    group = zarr.open_group(tmp_path / "g", mode="w", zarr_format=zarr_format)  # type: ignore[arg-type]
    for level in "01":
        group.create_array(level, shape=(2, 3, 5), dtype="u1")
    with pytest.raises(StackError, match=r"zarr group.*Arrays here: 0, 1"):
        open_frames(tmp_path / "g")
    assert len(open_frames(tmp_path / "g" / "0")) == 2


@pytest.mark.parametrize(
    "metadata", ["{", '{"zarr_format": 3, "node_type": "array"}', "[]"]
)
def test_damaged_zarr_metadata(tmp_path: Path, metadata: str) -> None:
    (tmp_path / "zarr.json").write_text(metadata)
    with pytest.raises(StackError, match=re.escape(str(tmp_path))):
        open_frames(tmp_path)


def test_damaged_npy(tmp_path: Path, stack: np.ndarray) -> None:
    path = tmp_path / "a.npy"
    np.save(path, stack)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(StackError, match="cannot be mapped"):
        open_frames(path)
    np.save(path, np.array([{}]), allow_pickle=True)
    with pytest.raises(StackError, match="Python objects"):
        open_frames(path)
