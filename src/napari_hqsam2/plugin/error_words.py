"""What went wrong, in words for the user."""

from __future__ import annotations

import logging

from napari_hqsam2.errors import HqSam2Error

logger = logging.getLogger(__name__)


def error_words(error: Exception) -> str:
    """The message of an error that says what to do; of others, their type too.

    What nobody has foreseen goes into the log with all that is known of it.
    """
    if isinstance(error, HqSam2Error | OSError):
        return str(error)
    logger.error("A task failed", exc_info=error)
    if isinstance(error, MemoryError):
        return (
            "There was not enough memory for a frame or its labels. Close other "
            "programs, or open the image from a chunked file (Zarr), which is read "
            "frame by frame."
        )
    return f"It failed with {type(error).__name__}: {error}"
