"""Exceptions; each message says what was seen, what is allowed and what to do."""


class HqSam2Error(Exception):
    """Base class of every error that this package raises on purpose."""


class CheckpointError(HqSam2Error):
    """A weights file cannot be used: missing, damaged, unsafe, or of another model."""


class DownloadError(HqSam2Error):
    """A checkpoint could not be fetched; the message holds the offline instructions."""


class PromptError(HqSam2Error, ValueError):
    """A prompt is missing, malformed, or lies outside the image."""


class StackError(HqSam2Error, ValueError):
    """An image stack has a shape, dtype or axis order that cannot be segmented."""


class KernelError(HqSam2Error, RuntimeError):
    """A CUDA kernel cannot be compiled, loaded or launched."""
