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


class FrameTimeoutError(StackError):
    """A frame of a lazy stack did not come in time."""


class ReadCancelledError(HqSam2Error):
    """Work was cancelled while it waited for a frame of a lazy stack."""


class EvaluationError(HqSam2Error, ValueError):
    """Images and truth do not make a data set that a model can be measured on."""


class DeviceError(HqSam2Error, RuntimeError):
    """A device has no memory left, has failed, or has computed no numbers."""


class DeviceMemoryError(DeviceError):
    """A device has no memory left for what was asked."""


class KernelError(HqSam2Error, RuntimeError):
    """A CUDA kernel cannot be compiled, loaded or launched."""


class CompileError(HqSam2Error, RuntimeError):
    """A model cannot be compiled in this process."""


class TrainingError(HqSam2Error, ValueError):
    """Images and labels, or settings, that no training can start from."""


class SessionError(HqSam2Error, RuntimeError):
    """A session cannot do this now, or cannot be loaded with these files."""


class LineageError(HqSam2Error, ValueError):
    """Objects and divisions do not fit together, or cannot be exchanged like this."""
