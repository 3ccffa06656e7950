"""Which frames objects are followed through, and from which sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_hqsam2._types import Direction


@dataclass(frozen=True, slots=True)
class Course:
    """The way of one object through frames.

    A pass forward visits what lies behind a frame on which the object is known, a pass
    backward what lies before one. What lies between two such frames is visited by both.
    """

    frames: range
    """Ascending; where the object is to be found."""
    known: tuple[int, ...]
    """Frames that it is followed from, at least one. The nearest ones beyond `frames`
    may be among them."""
    direction: Direction = "both"
    """Where it is followed to."""

    @classmethod
    def of(
        cls,
        frames: range,
        first: int,
        known: Iterable[int],
        direction: Direction,
        *,
        two_sided: bool,
    ) -> Course:
        """The way from a frame on, in one direction or both.

        Parameters
        ----------
        frames
            Where the object may be looked for.
        first
            The frame that it starts from.
        known
            All frames on which it is known.
        direction
            Where it is followed to.
        two_sided
            Follow it between two frames on which it is known from both of them;
            otherwise from `first` alone.
        """
        start = first if direction == "forward" else frames.start
        stop = first + 1 if direction == "backward" else frames.stop
        others = set(known) if two_sided else ()
        return cls(range(start, stop), tuple(sorted({first, *others})), direction)

    @property
    def forward(self) -> range:
        """Frames of the pass forward, the one it starts from included; may be empty."""
        behind = [t for t in self.known if t <= self.frames.start]
        visited = range(max(behind) if behind else self.known[0], self.frames.stop)
        is_needed = self.direction != "backward" or self._has_news(visited)
        return visited if is_needed else range(0)

    @property
    def backward(self) -> range:
        """Frames of the pass backward, ascending; may be empty."""
        ahead = [t for t in self.known if t >= self.frames.stop - 1]
        start = min(ahead) if ahead else self.known[-1]
        visited = range(self.frames.start, start + 1)
        is_needed = self.direction == "backward" or self._has_news(visited)
        return visited if is_needed else range(0)

    def backward_share(self, frame: int) -> float:
        """Weight of the pass backward on a frame that both passes visit, 0 to 1.

        What is near to a frame on which the object is known can be trusted more:
        weights go with the squared distance to the other one.
        """
        before = max((t for t in self.known if t <= frame), default=frame)
        after = min((t for t in self.known if t >= frame), default=frame)
        if before == after:
            return 0.0
        behind, ahead = (frame - before) ** 2, (after - frame) ** 2
        return behind / (behind + ahead)

    def _has_news(self, visited: range) -> bool:
        return not self.known_on(_common(visited, self.frames))

    def known_on(self, frames: range) -> bool:
        """Whether the object is known on all of some frames."""
        return sum(t in frames for t in self.known) == len(frames)


class Courses:
    """The ways of all objects of a run: a pass forward, then one backward.

    Parameters
    ----------
    by_object
        The way of each object.
    """

    def __init__(self, by_object: Mapping[int, Course]) -> None:
        self._courses = dict(by_object)
        self._forward = {k: course.forward for k, course in by_object.items()}
        self._backward = {k: course.backward for k, course in by_object.items()}

    def spans(self, *, reverse: bool) -> dict[int, range]:
        """Frames that each object takes part in, ascending, in one of the passes."""
        return self._backward if reverse else self._forward

    def shifted(self, offset: int, *, reverse: bool) -> dict[int, range]:
        """`spans` with frames counted from another one on."""
        return {
            obj_id: range(span.start - offset, span.stop - offset)
            for obj_id, span in self.spans(reverse=reverse).items()
        }

    def order(self, *, reverse: bool) -> range:
        """Frames that a pass visits, in its order."""
        return _in_order(self.spans(reverse=reverse).values(), reverse=reverse)

    def told(self, *, reverse: bool) -> range:
        """Frames of which a pass tells something, in its order."""
        spans = []
        for obj_id, span in self.spans(reverse=reverse).items():
            inside = _common(span, self._courses[obj_id].frames)
            while inside and not self.tells(obj_id, inside[-1], reverse=reverse):
                inside = inside[:-1]
            while inside and not self.tells(obj_id, inside[0], reverse=reverse):
                inside = inside[1:]
            spans.append(inside)
        return _in_order(spans, reverse=reverse)

    @property
    def num_steps(self) -> int:
        """Number of frames that are told of; those that both passes visit count twice.

        So many they are if no object is left early.
        """
        return len(self.told(reverse=False)) + len(self.told(reverse=True))

    def tells(self, obj_id: int, frame: int, *, reverse: bool) -> bool:
        """Whether a pass tells of an object on a frame that it visits.

        Frames on which the object is known are told of once.
        """
        course = self._courses[obj_id]
        is_old = frame in course.known and frame in self._forward[obj_id]
        return frame in course.frames and not (reverse and is_old)

    def backward_share(self, obj_id: int, frame: int) -> float:
        """Weight of the pass backward where both have found an object."""
        return self._courses[obj_id].backward_share(frame)


def _common(one: range, other: range) -> range:
    return range(max(one.start, other.start), min(one.stop, other.stop))


def _in_order(spans: Iterable[range], *, reverse: bool) -> range:
    """All frames from the first to the last of some spans."""
    some = [span for span in spans if span]
    first = min((span.start for span in some), default=0)
    stop = max((span.stop for span in some), default=0)
    return range(stop - 1, first - 1, -1) if reverse else range(first, stop)
