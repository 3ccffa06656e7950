"""Pixels that results leave to other labels, because nobody has been asked yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_hqsam2.segmentation.masks import ObjectMask
from napari_hqsam2.session.configuring import SessionSettings
from napari_hqsam2.session.disputes import Dispute
from napari_hqsam2.session.packed_masks import PackedMask
from napari_hqsam2.session.records import Claim
from napari_hqsam2.session.script import call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_hqsam2._types import Overlap
    from napari_hqsam2.session.history import Step
    from napari_hqsam2.session.records import FrameScores


class SessionClaims(SessionSettings):
    """Results that ask before they take pixels of other labels."""

    def disputes(self) -> tuple[Dispute, ...]:
        """Pixels of other labels that the newest results would take.

        They come of `segment` and `propagate` with ``overlap="ask"``, and stay as they
        are until `take_disputed`. The next `segment` or `propagate` makes new ones; in
        a block of `one_step`, all of its calls do. Pixels of objects that are locked on
        the frame are never in dispute.

        Returns
        -------
        tuple of Dispute
            Sorted by position, object and holder.
        """
        found = [item for claim, _ in self._claims() for item in self._disputed(claim)]
        return tuple(sorted(found, key=lambda d: (d.position, d.obj_id, d.holder)))

    def take_disputed(self) -> tuple[Dispute, ...]:
        """Let objects have the pixels that are in dispute; `undo` gives them back.

        Returns
        -------
        tuple of Dispute
            What was taken; empty if nothing was in dispute.
        """
        with self._turn():
            taken = self.disputes()
            if not taken:
                return ()
            with self._step("take pixels", call("take_disputed")) as step:
                for claim, scores in self._claims():
                    if self._disputed(claim):
                        self._take(step, claim, scores)
                self._drop_claims(step)
        return taken

    def _claim(
        self, step: Step, item: ObjectMask, scores: FrameScores, overlap: Overlap
    ) -> None:
        """Note what is left of a mask that was painted, if that is to be asked."""
        claim = None
        if overlap == "ask" and scores.area < item.area:
            hw = self._stack.axes.hw
            mask = PackedMask.placed(item.mask, item.top, item.left, hw)
            claim = Claim(item.obj_id, scores.position, mask, scores.mask_key)
        step.put(self._records.claims, item.obj_id, scores.position, claim)

    def _drop_claims(self, step: Step) -> None:
        """Forget the claims of earlier steps."""
        table = self._records.claims
        if self._group is None or not self._group.touched(table):
            for obj_id, position, _ in table.items():
                step.put(table, obj_id, position, None)

    def _claims(self) -> Iterator[tuple[Claim, FrameScores]]:
        """Claims that hold, with what is known of their results."""
        records = self._records
        for obj_id, position, claim in records.claims.items():
            scores = records.scores.get(obj_id, position)
            is_result = scores is not None and scores.mask_key == claim.mask_key
            if scores and is_result and not records.locks.get(obj_id, position):
                yield claim, scores

    def _disputed(self, claim: Claim) -> list[Dispute]:
        position = claim.position
        part = self._store.part(position, claim.mask.box)[claim.mask.part()]
        settled = {0, claim.obj_id, *self._records.locked_on(position)}
        labels, areas = np.unique(part, return_counts=True)
        return [
            Dispute(position, claim.obj_id, holder, area)
            for holder, area in zip(labels.tolist(), areas.tolist(), strict=True)
            if holder not in settled
        ]

    def _take(self, step: Step, claim: Claim, scores: FrameScores) -> None:
        top, left = claim.mask.box[:2]
        item = ObjectMask(
            claim.obj_id,
            top,
            left,
            claim.mask.part(),
            scores.object_score,
            scores.iou_score,
        )
        self._paint(step, claim.position, [item], "overwrite")
        new = self._measured(item, claim.position)
        self._keep(
            step,
            scores,
            area=new.area,
            centroid=new.centroid,
            mask_key=new.mask_key,
        )
