"""Labelled images to learn from: stills, volumes and movies, with fixed splits."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_hqsam2._types import AnyArray, LabelArray

Split = Literal["train", "validation"]
STILL_STEP = 10
"""Every tenth still of a large set is kept for validation."""
HELD_OUT = {"axondeepseg": 2, "omnipose": 1}
"""Sets of a few images: the index of the one image that is kept for validation."""
VOLUME_SPLIT = {"train": slice(0, 171), "validation": slice(180, 200)}
MOVIE_SPLIT = {"train": slice(0, 18), "validation": slice(20, 28)}


@dataclass(frozen=True, eq=False)
class Frame:
    """One labelled image."""

    image: AnyArray
    """(H, W) or (H, W, 3) uint8, or floating from 0 to 1."""
    labels: LabelArray
    """(H, W) integers, 0 is background."""


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames of one sequence; a label value is the same object on all of them."""

    images: AnyArray
    """(T, H, W) or (T, H, W, 3) uint8, or floating from 0 to 1."""
    labels: LabelArray
    """(T, H, W) integers."""


@dataclass(frozen=True, eq=False)
class HeldOutClip:
    """A clip to follow objects through, whose frames were not all held out."""

    clip: Clip
    unseen: tuple[int, ...]
    """Indices, after the first frame, of those that training never saw."""

    @property
    def reversed(self) -> HeldOutClip:
        """The same from its last frame to its first."""
        last = len(self.clip.images) - 1
        # the frame that is now the first was the last, and held out
        unseen = tuple(sorted(last - index for index in self.unseen if index < last))
        clip = Clip(self.clip.images[::-1], self.clip.labels[::-1])
        return HeldOutClip(clip, unseen)


class Source(Protocol):
    """A set of images to sample from."""

    @property
    def name(self) -> str:
        """Short name, also of its share in a mixture."""

    def still(self, rng: np.random.Generator) -> Frame:
        """Draw one frame."""

    def clip(self, rng: np.random.Generator, length: int) -> Clip | None:
        """Draw `length` consecutive frames; None if the set holds no sequences."""


@dataclass(frozen=True, eq=False)
class Stills:
    """Independent images."""

    name: str
    frames: tuple[Frame, ...]

    @property
    def size(self) -> int:
        """How many frames there are."""
        return len(self.frames)

    def still(self, rng: np.random.Generator) -> Frame:
        """Draw one frame."""
        return self.frames[int(rng.integers(len(self.frames)))]

    def clip(self, rng: np.random.Generator, length: int) -> Clip | None:
        """Hold no sequences."""
        del rng, length
        return None


@dataclass(frozen=True, eq=False)
class Volume:
    """A labelled isotropic volume, cut along any axis."""

    name: str
    image: AnyArray
    """(Z, Y, X) uint8."""
    labels: LabelArray

    @property
    def size(self) -> int:
        """How many slices there are along the first axis."""
        return len(self.image)

    def still(self, rng: np.random.Generator) -> Frame:
        """Draw one slice along a random axis."""
        axis = int(rng.integers(3))
        index = int(rng.integers(self.image.shape[axis]))
        image, labels = (np.moveaxis(a, axis, 0) for a in (self.image, self.labels))
        return Frame(image[index], labels[index])

    def clip(self, rng: np.random.Generator, length: int) -> Clip | None:
        """Draw a sweep along a random axis, in either order."""
        axis = int(rng.integers(3))
        return _window(
            np.moveaxis(self.image, axis, 0),
            np.moveaxis(self.labels, axis, 0),
            _steps(rng, length, self.image.shape[axis], longest=4),
        )


@dataclass(frozen=True, eq=False)
class Movies:
    """Labelled time-lapses."""

    name: str
    clips: tuple[Clip, ...]

    @property
    def size(self) -> int:
        """How many frames there are."""
        return sum(len(clip.images) for clip in self.clips)

    def still(self, rng: np.random.Generator) -> Frame:
        """Draw one frame."""
        movie = self.clips[rng.integers(len(self.clips))]
        index = rng.integers(len(movie.images))
        return Frame(movie.images[index], movie.labels[index])

    def clip(self, rng: np.random.Generator, length: int) -> Clip | None:
        """Draw a window in either order, sometimes with frames left out."""
        movie = self.clips[rng.integers(len(self.clips))]
        if len(movie.images) < length:
            return None
        steps = _steps(rng, length, len(movie.images), longest=2)
        return _window(movie.images, movie.labels, steps)


@dataclass(frozen=True, eq=False)
class Mixture:
    """Sources and how often each is drawn from."""

    sources: Sequence[Source]
    shares: Mapping[str, float] = field(default_factory=dict)
    """Relative share of a source by name; 1 where it is not named."""

    def weights(self) -> npt.NDArray[np.float64]:
        """Share of each source in what is drawn."""
        weights = np.array([self.shares.get(s.name, 1.0) for s in self.sources])
        shares: npt.NDArray[np.float64] = weights / weights.sum()
        return shares

    def share(self, source: Source) -> float:
        """Share of one source in what is drawn."""
        return float(self.weights()[list(self.sources).index(source)])

    def draw(self, rng: np.random.Generator) -> Source:
        """Draw a source."""
        return self.sources[rng.choice(len(self.sources), p=self.weights())]


def _steps(
    rng: np.random.Generator, length: int, available: int, longest: int
) -> LabelArray:
    stride = int(rng.integers(1, longest + 1))
    stride = max(1, min(stride, (available - 1) // max(1, length - 1)))
    span = stride * (length - 1)
    start = int(rng.integers(available - span))
    indices = start + stride * np.arange(length)
    return indices[::-1] if rng.random() < 0.5 else indices


def _window(images: AnyArray, labels: LabelArray, indices: LabelArray) -> Clip:
    return Clip(images[indices], labels[indices])


def read_pairs(path: Path) -> Iterator[tuple[AnyArray, LabelArray]]:
    """Yield the (image, labels) pairs of an archive, ordered by name.

    Parameters
    ----------
    path : Path
        An ``.npz`` with arrays ``NAME.image`` and ``NAME.labels``.

    Raises
    ------
    ValueError
        If the archive holds no such pair.
    """
    with np.load(path) as archive:
        names = sorted(
            match[1]
            for key in archive.files
            if (match := re.match(r"(.*)\.image$", key))
        )
        if not names:
            msg = (
                f"{path} holds no arrays named NAME.image and NAME.labels, "
                f"but {archive.files[:4]}; pack the images as such pairs."
            )
            raise ValueError(msg)
        for name in names:
            yield archive[f"{name}.image"], archive[f"{name}.labels"]


def load_source(path: Path, split: Split) -> Stills | Volume | Movies:
    """Read one archive as a source.

    Parameters
    ----------
    path : Path
        ``*_zyx.npz`` holds volumes, ``*_tyx.npz`` movies, any other name stills.
    split : {"train", "validation"}
        Part to return; the two never share a pixel.
    """
    pairs = list(read_pairs(path))
    if path.stem.endswith("_zyx"):
        image, labels = pairs[0]
        part = VOLUME_SPLIT[split]
        return Volume(path.stem, image[part], labels[part])
    if path.stem.endswith("_tyx"):
        part = MOVIE_SPLIT[split]
        return Movies(path.stem, tuple(Clip(i[part], la[part]) for i, la in pairs))
    kept = [Frame(i, la) for i, la in _part_of(path.stem, pairs, split) if la.any()]
    return Stills(path.stem, tuple(kept))


def _part_of(
    name: str, pairs: Sequence[tuple[AnyArray, LabelArray]], split: Split
) -> list[tuple[AnyArray, LabelArray]]:
    step = HELD_OUT.get(name)
    held_out = {step} if step is not None else set(range(0, len(pairs), STILL_STEP))
    return [
        pair
        for index, pair in enumerate(pairs)
        if (index in held_out) == (split == "validation")
    ]


def archives(folders: Sequence[Path]) -> list[Path]:
    """Every ``.npz`` of some folders, ordered by name within each.

    Raises
    ------
    FileNotFoundError
        If one of the folders holds none.
    """
    found: list[Path] = []
    for folder in folders:
        paths = sorted(folder.glob("*.npz"))
        if not paths:
            msg = f"{folder} holds no .npz archives of images and labels to train on."
            raise FileNotFoundError(msg)
        found += paths
    return found


def load_sources(folders: Sequence[Path], split: Split) -> list[Source]:
    """Read every ``.npz`` of some folders that has a part of that split.

    Raises
    ------
    FileNotFoundError
        If one of the folders holds none.
    """
    sources = [load_source(path, split) for path in archives(folders)]
    return [source for source in sources if source.size]


def load_clips(path: Path, length: int) -> list[HeldOutClip]:
    """The last `length` frames up to the end of the validation part of an archive.

    The validation part of movies is short, so a longer clip begins in the frames that
    are trained on, and ends in those that are not.

    Parameters
    ----------
    path : Path
        Stills give no clips.
    length : int
        Frames; at least two.
    """
    splits = {"_zyx": VOLUME_SPLIT, "_tyx": MOVIE_SPLIT}
    if path.stem[-4:] not in splits:
        return []
    held_out = splits[path.stem[-4:]]["validation"]
    clips = []
    for image, labels in read_pairs(path):
        stop = min(held_out.stop, len(image))
        start = max(stop - length, 0)
        if stop > held_out.start:
            first = max(held_out.start, start + 1)
            clips.append(
                HeldOutClip(
                    Clip(image[start:stop], labels[start:stop]),
                    tuple(range(first - start, stop - start)),
                )
            )
    return clips
