from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_hqsam2.errors import StackError
from napari_hqsam2.predictors import tiff_file
from napari_hqsam2.predictors.frame_source import open_frames
from napari_hqsam2.predictors.tiff_file import TiffFrameSource

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def stack(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 4000, (5, 12, 16), np.uint16)


def page_positions(path: Path) -> list[int]:
    with tifffile.TiffFile(path) as tiff:
        return [page.offset for page in tiff.pages]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"imagej": True, "metadata": {"axes": "TYX"}},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
        {"ome": True, "metadata": {"axes": "ZYX"}},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"byteorder": ">", "bigtiff": True, "compression": "zlib"},
        {"metadata": None, "photometric": "minisblack"},
        {"truncate": True},
        {"compression": "zlib", "predictor": False},
        {"compression": "zlib", "rowsperstrip": 5},
        {"tile": (16, 16)},
        {"ome": True, "compression": "zlib", "metadata": {"axes": "TYX"}},
    ],
    ids=str,
)
def test_every_kind_of_stack_gives_its_pages(
    stack: np.ndarray, tmp_path: Path, options: dict[str, Any]
) -> None:
    path = tmp_path / ("a.ome.tif" if options.get("ome") else "a.tif")
    tifffile.imwrite(path, stack, **options)
    source = open_frames(path)
    assert isinstance(source, TiffFrameSource)
    assert (len(source), source.hw) == (5, (12, 16))
    for index in (4, 0, 2, 1, 3):
        frame = source.read(index)
        assert frame.dtype == np.uint16
        np.testing.assert_array_equal(frame, stack[index])


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "f2", "f4", "f8"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_every_type(tmp_path: Path, dtype: str, compression: str | None) -> None:
    stack = (np.arange(60).reshape(3, 4, 5) - 7).astype(dtype)
    tifffile.imwrite(
        tmp_path / "a.tif",
        stack,
        compression=compression,
        byteorder=">",
        photometric="minisblack",
    )
    frame = open_frames(tmp_path / "a.tif").read(2)
    assert frame.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(frame, stack[2])


def test_one_page_is_one_frame(stack: np.ndarray, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", stack[0])
    source = open_frames(tmp_path / "a.tif")
    assert len(source) == 1
    np.testing.assert_array_equal(source.read(0), stack[0])


def test_pages_written_one_by_one_are_one_stack(
    stack: np.ndarray, tmp_path: Path
) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for frame in stack:
            writer.write(frame, contiguous=False)
    Image.fromarray(stack[0]).save(
        tmp_path / "b.tif",
        save_all=True,
        append_images=[Image.fromarray(frame) for frame in stack[1:]],
    )
    for name in ("a.tif", "b.tif"):
        source = open_frames(tmp_path / name)
        assert len(source) == 5
        np.testing.assert_array_equal(source.read(3), stack[3])


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("samples", [3, 4])
def test_colour_pages(
    rng: np.random.Generator, tmp_path: Path, planar: str, samples: int
) -> None:
    stack = rng.integers(0, 255, (3, 12, 16, samples), np.uint8)
    stored = stack if planar == "contig" else np.moveaxis(stack, -1, 1)
    tifffile.imwrite(
        tmp_path / "a.tif",
        stored,
        photometric="rgb",
        planarconfig=planar,
        extrasamples=["unassalpha"] * (samples - 3),
    )
    source = open_frames(tmp_path / "a.tif")
    assert (len(source), source.hw) == (3, (12, 16))
    np.testing.assert_array_equal(source.read(1), stack[1])
    chosen = open_frames(tmp_path / "a.tif", channels=(2, 0))
    np.testing.assert_array_equal(chosen.read(1), stack[1][..., [2, 0]])
    single = open_frames(tmp_path / "a.tif", channels=(1,))
    np.testing.assert_array_equal(single.read(1), stack[1][..., 1])


@pytest.mark.parametrize("axes", ["TCYX", "CZYX"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_channels_in_pages_of_their_own(
    rng: np.random.Generator, tmp_path: Path, axes: str, compression: str | None
) -> None:
    stack = rng.integers(0, 4000, (5, 4, 12, 16), np.uint16)
    path = tmp_path / "a.ome.tif"
    stored = stack if axes[1] == "C" else stack.swapaxes(0, 1)
    tifffile.imwrite(path, stored, metadata={"axes": axes}, compression=compression)
    with pytest.raises(StackError, match=r"4 channels.*channels=\(0,\)"):
        open_frames(path)
    np.testing.assert_array_equal(
        open_frames(path, channels=(3, 1)).read(4), stack[4][[3, 1]].transpose(1, 2, 0)
    )
    np.testing.assert_array_equal(open_frames(path, channels=(2,)).read(0), stack[0, 2])
    with pytest.raises(StackError, match="channels 0 to 3"):
        open_frames(path, channels=(4,))


def test_three_stains_need_no_choice(rng: np.random.Generator, tmp_path: Path) -> None:
    stack = rng.integers(0, 4000, (5, 3, 12, 16), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "TCYX"})
    frame = open_frames(tmp_path / "a.tif").read(2)
    np.testing.assert_array_equal(frame, stack[2].transpose(1, 2, 0))


def test_an_ome_series_over_several_files(stack: np.ndarray, tmp_path: Path) -> None:
    description = """<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
      <Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16"
      SizeX="16" SizeY="12" SizeZ="1" SizeC="1" SizeT="2">
      <Channel ID="Channel:0:0" SamplesPerPixel="1"/>{}</Pixels></Image></OME>"""
    planes = "".join(
        f'<TiffData IFD="0" FirstT="{number}" PlaneCount="1">'
        f'<UUID FileName="t{number}.ome.tif">urn:uuid:{number:032x}</UUID></TiffData>'
        for number in range(2)
    )
    for number in range(2):
        tifffile.imwrite(
            tmp_path / f"t{number}.ome.tif",
            stack[number],
            description=description.format(planes),
            metadata=None,
            compression="zlib",
        )
    source = open_frames(tmp_path / "t0.ome.tif")
    assert len(source) == 2
    for index in (1, 0, 1):
        np.testing.assert_array_equal(source.read(index), stack[index])


def test_several_frame_axes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    stack = np.zeros((2, 3, 2, 12, 16), np.uint16)
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "TZCYX"})
    with pytest.raises(StackError, match=r"several frame axes \(T=2, Z=3, C=2, Y=12"):
        open_frames(path)


def test_images_of_different_kinds_are_refused(
    stack: np.ndarray, tmp_path: Path
) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(stack)
        writer.write(stack[:, :6].astype(np.uint8))
    with pytest.raises(StackError, match=r"2 images of different kinds .*\(5, 6, 16\)"):
        open_frames(tmp_path / "a.tif")


def test_a_thumbnail_is_left_out(stack: np.ndarray, tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(stack)
        writer.write(stack[0, ::2, ::2], subfiletype=1)
    assert len(open_frames(tmp_path / "a.tif")) == 5


def test_complex_values_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 8, 5), np.complex64))
    with pytest.raises(StackError, match=r"a\.tif has dtype complex64"):
        open_frames(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_file_cut_in_the_chain_of_pages(
    stack: np.ndarray, tmp_path: Path, compression: str | None
) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for frame in stack:
            writer.write(frame, contiguous=False, compression=compression)
    path.write_bytes(path.read_bytes()[: page_positions(path)[3]])
    with pytest.raises(StackError, match=r"a\.tif is cut off or damaged: page 3 "):
        open_frames(path)


def test_a_file_cut_in_its_pixels(stack: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack, truncate=True)
    path.write_bytes(path.read_bytes()[: -stack[0].nbytes - 10])
    source = open_frames(path)
    np.testing.assert_array_equal(source.read(2), stack[2])
    with pytest.raises(StackError, match=r"Frame 3 of .*a\.tif \(page 3\).*file ends"):
        source.read(3)
    with pytest.raises(StackError, match=r"Frame 4 of .*\(page 4\)"):
        source.read(4)


def test_a_cut_imagej_stack_is_not_taken_for_its_first_page(
    stack: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack, imagej=True, truncate=True)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StackError, match=r"a\.tif is cut off: .* announces 5 images"):
        open_frames(path)


def test_a_page_whose_strips_lie_beyond_the_end(
    stack: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack, compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages[2].tags["StripOffsets"]  # type: ignore[union-attr]
        place = tag.valueoffset
    content = bytearray(path.read_bytes())
    content[place : place + 4] = struct.pack("<I", 10**8)
    path.write_bytes(content)
    source = open_frames(path)
    with pytest.raises(StackError, match=r"\(page 2\).*end at byte 100"):
        source.read(2)
    np.testing.assert_array_equal(source.read(3), stack[3])


def test_a_damaged_page_costs_one_frame(stack: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack, compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages[1].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[place : place + 8] = b"\xff" * 8
    path.write_bytes(content)
    source = open_frames(path)
    with pytest.raises(StackError, match=r"Frame 1 of .*a\.tif \(page 1\) cannot be"):
        source.read(1)
    np.testing.assert_array_equal(source.read(2), stack[2])


@pytest.mark.parametrize("back_to", [0, 2, 4])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_pages_in_a_circle(
    stack: np.ndarray, tmp_path: Path, back_to: int, *, bigtiff: bool
) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as writer:
        for frame in stack:
            writer.write(frame, contiguous=False)
    positions = page_positions(path)
    content = bytearray(path.read_bytes())
    head, tag, form = (8, 20, "<Q") if bigtiff else (2, 12, "<I")
    (tags,) = struct.unpack_from("<Q" if bigtiff else "<H", content, positions[4])
    struct.pack_into(
        form, content, positions[4] + head + tags * tag, positions[back_to]
    )
    path.write_bytes(content)
    with pytest.raises(StackError, match="page 4 leads back to an earlier page"):
        open_frames(path)


def test_absurd_sizes_are_refused_before_memory_is_taken(
    stack: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack[0], compression="zlib")
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name in ("ImageWidth", "ImageLength"):
            tiff.pages[0].tags[name].overwrite(2_000_000)  # type: ignore[union-attr]
    with pytest.raises(StackError, match=r"announces pages of 8000000000000 bytes"):
        open_frames(path)


def test_bombs_are_refused_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, np.zeros((1200, 1200)), compression="zlib", rowsperstrip=1200
    )
    assert not open_frames(path).read(0).any()
    monkeypatch.setattr(tiff_file, "BOMB_BYTES", 1000)
    monkeypatch.setattr(tiff_file, "BOMB_RATIO", 500)
    with pytest.raises(StackError, match=r"\(page 0\).*claim to hold 11520000.*bomb"):
        open_frames(path).read(0)


def test_a_missing_decoder_says_how_to_get_it(
    stack: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack[:2], compression="zlib")

    def refuse(*_: object, **__: object) -> None:
        msg = "<COMPRESSION.LZW: 5> requires the 'imagecodecs' package"
        raise ValueError(msg)

    monkeypatch.setattr(tifffile.TiffPage, "asarray", refuse)
    monkeypatch.setattr(tifffile.TiffFrame, "asarray", refuse)
    with pytest.raises(StackError, match=r"Frame 0 .*LZW.*pip install imagecodecs"):
        open_frames(path).read(0)


def test_lzw_and_jpeg_stacks(stack: np.ndarray, tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    tifffile.imwrite(tmp_path / "a.tif", stack, compression="lzw", predictor=True)
    np.testing.assert_array_equal(open_frames(tmp_path / "a.tif").read(4), stack[4])


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    kind=st.sampled_from(["plain", "zlib", "imagej", "ome"]),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    kept=st.floats(0.0, 1.0),
)
def test_no_damage_gets_through_as_another_error(
    tmp_path: Path, kind: str, flips: list[tuple[float, int]], kept: float
) -> None:
    path = tmp_path / "a.tif"
    stack = np.arange(3 * 6 * 8, dtype=np.uint16).reshape(3, 6, 8)
    options: dict[str, dict[str, Any]] = {
        "plain": {"photometric": "minisblack"},
        "zlib": {"compression": "zlib", "photometric": "minisblack"},
        "imagej": {"imagej": True},
        "ome": {"ome": True, "compression": "zlib"},
    }
    tifffile.imwrite(path, stack, **options[kind])
    content = bytearray(path.read_bytes())
    for place, value in flips:
        # Most of what matters lies in the header and the tags.
        content[int(place**2 * (len(content) - 1))] = value
    path.write_bytes(
        content[: max(8, int(kept * len(content)))] if kept < 0.5 else content
    )
    try:
        source = open_frames(path)
        for index in range(min(len(source), 5)):
            assert source.read(index).shape[:2] == source.hw
    except StackError as error:
        assert "a.tif" in str(error)  # noqa: PT017
