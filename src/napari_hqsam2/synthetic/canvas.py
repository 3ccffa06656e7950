"""Objects along their paths, and the canvas they are drawn on, frame by frame.

The canvas is what all microscopes share: who owns each pixel, how deep the pixel lies
inside its owner, and how much stuff lies along the line of sight. Optics come later.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from napari_hqsam2._types import HW
from napari_hqsam2.synthetic.arrays import F32Array, F64Array, I32Array
from napari_hqsam2.synthetic.noise import TextureKind, sample_tile
from napari_hqsam2.synthetic.shapes import Shape


@dataclass(frozen=True)
class Path:
    """Poses of one object over T frames.

    Attributes
    ----------
    yx : (T, 2) float
        Its middle, pixel centres at whole numbers.
    angle : (T,) float
        Direction of its long axis in radians, from x towards y.
    stretch : (T, 2) float
        Factors across and along the long axis.
    phase : (T,) float
        Deformation phase in radians.
    grain : (T,) float
        Radians that the texture has evolved by; a quarter turn makes it a new one.
    present : (T,) bool
        False before it appears and after it is gone.
    """

    yx: F64Array
    angle: F64Array
    stretch: F64Array
    phase: F64Array
    grain: F64Array
    present: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Inner:
    """Something inside an object that changes its brightness, as a nucleus does."""

    shape: Shape
    offset_vu: tuple[float, float]
    factor: float


@dataclass(frozen=True)
class Actor:
    """One object: outline, path, and looks of its own."""

    shape: Shape
    path: Path
    brightness: float = 1.0
    texel_yx: tuple[float, float] = (0.0, 0.0)
    labelled: bool = True
    inner: tuple[Inner, ...] = ()


@dataclass(frozen=True)
class Paint:
    """How objects of a scene are filled.

    Attributes
    ----------
    flat, dome, rim : float
        Weights of an even filling, of one as a ball projects, and of a bright outline.
    rim_width : float
        Width of the outline in pixels.
    kind, cell_kind : str
        Texture of the objects, and of the cells of a tissue.
    texture, zoom : float
        Strength of the objects' texture and texels per pixel.
    opacity : float
        1 hides what lies below, 0 adds to it.
    border : float
        Width of a sheath around objects, in square roots of their radius; see
        ``Canvas.near``.
    touching : bool
        Objects that meet share a border between them; else the later lies on top.
    """

    flat: float = 1.0
    dome: float = 0.0
    rim: float = 0.0
    rim_width: float = 2.0
    kind: TextureKind = "chromatin"
    cell_kind: TextureKind = "grain"
    texture: float = 0.0
    zoom: float = 1.0
    opacity: float = 1.0
    border: float = 0.0
    touching: bool = False


@dataclass
class Canvas:
    """Layers of one frame, all (H, W).

    Attributes
    ----------
    size : (H, W)
        In pixels.
    owner : int32
        0 or 1 + index of the object on top.
    depth : float32
        Depth of the pixel inside its owner in pixels, -1 where there is none.
    light : float32
        Brightness of what lies along the line of sight.
    thick : float32
        Its thickness, 1 in the middle of one object.
    near : float32
        0 at an object's outline, -1 at the outer face of its sheath, less beyond.
    """

    size: HW
    owner: I32Array = field(init=False)
    depth: F32Array = field(init=False)
    light: F32Array = field(init=False)
    thick: F32Array = field(init=False)
    near: F32Array = field(init=False)

    def __post_init__(self) -> None:
        self.owner = np.zeros(self.size, np.int32)
        self.depth = np.full(self.size, -1, np.float32)
        self.light = np.zeros(self.size, np.float32)
        self.thick = np.zeros(self.size, np.float32)
        self.near = np.full(self.size, -9, np.float32)


def paint_actor(
    canvas: Canvas, actor: Actor, index: int, frame: int, paint: Paint, tile: F32Array
) -> None:
    """Draw ``actor`` as it is in ``frame``; ``index`` is its number in the scene."""
    if not actor.path.present[frame]:
        return
    sheath = paint.border * actor.shape.thickness**0.5
    window = _window(canvas.size, actor, frame, sheath + 2)
    if window is None:
        return
    v, u, scale = _local_grid(window, actor, frame)
    depth = actor.shape.depth(v, u, float(actor.path.phase[frame])) * np.float32(scale)
    if sheath:
        near = canvas.near[window]
        np.maximum(near, depth / np.float32(sheath), out=near)
    cover = np.clip(depth + np.float32(0.5), 0, 1)
    inside = depth > 0
    if paint.touching:
        wins = depth > canvas.depth[window]
        inside &= wins
        cover = cover * (wins | (canvas.depth[window] <= 0))
    q = np.clip(depth / np.float32(actor.shape.thickness * scale), 0, 1)
    light = _fill(actor, depth, q, paint)
    if paint.texture:
        light *= 1 + np.float32(paint.texture) * _texture(
            actor, (v, u), frame, paint, tile
        )
    for inner in actor.inner:
        light *= _inner_factor(inner, v, u, float(actor.path.phase[frame]))
    keep = 1 - np.float32(paint.opacity) * cover
    canvas.light[window] = canvas.light[window] * keep + light * cover
    dome = np.sqrt(q * (2 - q))
    canvas.thick[window] = canvas.thick[window] * keep + dome * cover
    np.copyto(canvas.owner[window], np.int32(index + 1), where=inside)
    np.copyto(canvas.depth[window], depth, where=inside)


def _window(
    size: HW, actor: Actor, frame: int, margin: float
) -> tuple[slice, slice] | None:
    path = actor.path
    reach = actor.shape.reach * float(path.stretch[frame].max()) + margin
    y, x = path.yx[frame]
    y0, y1 = max(int(y - reach), 0), min(int(y + reach) + 2, size[0])
    x0, x1 = max(int(x - reach), 0), min(int(x + reach) + 2, size[1])
    if y0 >= y1 or x0 >= x1:
        return None
    return slice(y0, y1), slice(x0, x1)


def _local_grid(
    window: tuple[slice, slice], actor: Actor, frame: int
) -> tuple[F32Array, F32Array, float]:
    """Local coordinates (v, u) of a window's pixels and the mean scale."""
    path = actor.path
    rows, cols = window
    dy = np.arange(rows.start, rows.stop, dtype=np.float32) - np.float32(
        path.yx[frame, 0]
    )
    dx = np.arange(cols.start, cols.stop, dtype=np.float32) - np.float32(
        path.yx[frame, 1]
    )
    sv, su = (max(float(s), 1e-3) for s in path.stretch[frame])
    c, s = np.cos(path.angle[frame]), np.sin(path.angle[frame])
    u = np.float32(s / su) * dy[:, None] + np.float32(c / su) * dx[None, :]
    v = np.float32(c / sv) * dy[:, None] - np.float32(s / sv) * dx[None, :]
    return v, u, (sv * su) ** 0.5


def _fill(actor: Actor, depth: F32Array, q: F32Array, paint: Paint) -> F32Array:
    light = np.full_like(depth, paint.flat)
    if paint.dome:
        light += np.float32(paint.dome) * np.sqrt(q * (2 - q))
    if paint.rim:
        falloff = np.maximum(depth, 0) / np.float32(paint.rim_width)
        light += np.float32(paint.rim) * np.exp(-falloff * falloff)
    light *= np.float32(actor.brightness)
    return light


def _texture(
    actor: Actor,
    vu: tuple[F32Array, F32Array],
    frame: int,
    paint: Paint,
    tile: F32Array,
) -> F32Array:
    zoom = np.float32(paint.zoom)
    oy, ox = actor.texel_yx
    v, u = zoom * vu[0] + np.float32(oy), zoom * vu[1] + np.float32(ox)
    return sample_tile(tile, v, u, float(actor.path.grain[frame]))


def _inner_factor(inner: Inner, v: F32Array, u: F32Array, phase: float) -> F32Array:
    dv, du = inner.offset_vu
    depth = inner.shape.depth(v - np.float32(dv), u - np.float32(du), phase)
    soft = np.float32(1 / (1 + 0.15 * inner.shape.thickness))
    cover = np.clip(depth * soft + np.float32(0.5), 0, 1)
    return 1 + np.float32(inner.factor - 1) * cover
