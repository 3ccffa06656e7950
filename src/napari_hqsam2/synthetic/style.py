"""What the movements of one clip have in common."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_hqsam2.synthetic.arrays import F64Array


@dataclass(frozen=True)
class MotionStyle:
    """What the movements of one clip have in common; rates are per frame.

    Attributes
    ----------
    frames : int
        T.
    speed : float
        Typical step of one object in its own diameters.
    cohesion : float
        Share of the speed that follows a common, smooth flow.
    persistence : float
        0 is a random walk, 1 a straight line.
    spin, wobble : float
        Turning and deformation in radians.
    repulsion : float
        Objects that come closer than this many sums of their radii push each other
        away; 0 lets them cross.
    stage : (moments, 2) float or None
        Where the whole scene has shifted to, (y, x) in pixels; None is nowhere.
    division : float
        Chance of an object to divide within the clip.
    z_step : float
        Pixels that the focal plane moves; 0 unless the clip is a sweep through depth.
    grain : float
        Evolution of textures in radians.
    planes : int
        Frames of one sweep; as many sweeps as fit follow each other in time.
        0 makes all frames one sweep.
    """

    frames: int
    speed: float = 0.0
    cohesion: float = 0.0
    persistence: float = 0.8
    spin: float = 0.0
    wobble: float = 0.0
    repulsion: float = 0.0
    stage: F64Array | None = None
    division: float = 0.0
    z_step: float = 0.0
    grain: float = 0.0
    planes: int = 0

    def stage_at(self, frame: int) -> tuple[float, float]:
        """Shift (y, x) of the whole scene in ``frame``, in pixels."""
        if self.stage is None:
            return 0.0, 0.0
        y, x = self.stage[frame // max(self.planes, 1)]
        return float(y), float(x)

    @property
    def stage_reach(self) -> float:
        """Longest shift along an axis in pixels."""
        return 0.0 if self.stage is None else float(np.abs(self.stage).max())

    @property
    def is_sweep(self) -> bool:
        """Whether the frames are planes of a volume."""
        return self.z_step > 0

    @property
    def depth(self) -> float:
        """Pixels from the first plane of a sweep to its last."""
        return ((self.planes or self.frames) - 1) * self.z_step

    @property
    def moments(self) -> int:
        """Moments in time: one for each frame, or for each of repeated sweeps."""
        return self.frames // self.planes if self.planes else self.frames

    @property
    def steps(self) -> npt.NDArray[np.intp]:
        """Number of the frame in time, (T,); frames of one repeated sweep share it."""
        return np.arange(self.frames) // max(self.planes, 1)

    @property
    def grains(self) -> F64Array:
        """Evolution of textures up to every frame, (T,) radians."""
        return np.arange(self.frames, dtype=np.float64) * self.grain

    @property
    def focus(self) -> F64Array:
        """Height of the focal plane in every frame, (T,) pixels."""
        plane = np.arange(self.frames) % (self.planes or self.frames)
        return plane.astype(np.float64) * self.z_step


STILL = MotionStyle(frames=1)
