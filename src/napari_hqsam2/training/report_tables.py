"""The figures of a report as tables in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    Figures = Mapping[str, float]

PROMPTS = {
    "images": "images",
    "objects": "objects",
    "1 click": "click_1",
    "3 clicks": "click_3",
    "box": "box",
    "Otsu + watershed": "otsu_watershed",
    "whole box": "box_filled",
    "ellipse": "box_ellipse",
    "LiteMedSAM, box": "litemedsam_box",
}
"""Column titles and the figures below them."""
SEGMENTED = {
    "objects": "segmented_objects",
    "1 click": "segmented_click_1",
    "3 clicks": "segmented_click_3",
    "box": "segmented_box",
}
RIMS = ("click_1", "click_3", "box")
STARTS = ("from_mask", "from_mask_corrected", "from_click", "from_click_corrected")
TRACKING = {
    "frames": "tracked_frames",
    "objects": "tracked_objects",
    "copied": "copied",
    "mask": STARTS[0],
    "mask, corrected": STARTS[1],
    "click": STARTS[2],
    "click, corrected": STARTS[3],
}


def markdown(report: Mapping[str, Figures]) -> str:
    """Tables of what `report` measured, by set: prompts, use of the HQ mask, tracking.

    Parameters
    ----------
    report : mapping
        Figures of every set.
    """
    parts = [
        "Mean IoU on held-out images:",
        _table(report, PROMPTS),
        "The same of `segment_image`, which looks at small objects in windows:",
        _table(report, SEGMENTED),
        "Boundary IoU in a rim of 2 px, without, with and only the HQ mask:",
        _table(report, _rim_columns()),
    ]
    tracked = {name: each for name, each in report.items() if "from_mask" in each}
    if tracked:
        clicks = next(iter(tracked.values()))["corrections"]
        parts += [
            f"Mean J after the first frame; corrected: {clicks:.0f} clicks an object:",
            _table(tracked, TRACKING),
            "The same on those of these frames that training never saw:",
            _table(tracked, {"frames": "unseen_frames"} | _starts("_unseen")),
            "Share of objects that touch others and are still themselves at the end:",
            _table(tracked, {"objects": "touching_objects"} | _starts("_kept")),
        ]
    return "\n\n".join(parts)


def _rim_columns() -> dict[str, str]:
    uses = {
        "off": "_boundary_hq_off",
        "added": "_boundary",
        "alone": "_boundary_hq_only",
    }
    return {
        f"{kind.replace('_', ' ')}, {use}": kind + end
        for kind in RIMS
        for use, end in uses.items()
    }


def _starts(end: str) -> dict[str, str]:
    titles = [title for title, name in TRACKING.items() if name in STARTS]
    return {t: name + end for t, name in zip(titles, STARTS, strict=True)}


def _table(report: Mapping[str, Figures], columns: Mapping[str, str]) -> str:
    lines = [
        "| " + " | ".join(("held-out part", *columns)) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, figures in report.items():
        cells = [_cell(key, figures.get(key)) for key in columns.values()]
        lines.append("| " + " | ".join((name, *cells)) + " |")
    return "\n".join(lines)


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return ""
    is_count = key.endswith(("objects", "images", "frames"))
    return f"{value:.0f}" if is_count else f"{value:.3f}"
