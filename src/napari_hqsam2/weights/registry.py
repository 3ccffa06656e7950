"""The models that have a name, and where their weights come from."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from napari_hqsam2.errors import CheckpointError

DEFAULT_MODEL = "sam2.1_hq_hiera_nano"
"""The model that is packaged and needs no download."""
SAM2_ADDRESS = "https://dl.fbaipublicfiles.com/segment_anything_2/092824"
HQ_ADDRESS = "https://huggingface.co/lkeab/hq-sam/resolve/main"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSpec:
    """What is known of the weights of one model."""

    name: str
    trunk: tuple[int, int]
    """Embedding width and number of blocks of the image encoder's trunk."""
    url: str | None = None
    """Address of the file; None if it is packaged or was never published."""
    sha256: str | None = None
    """Of the file at `url`; None if its publisher has not told it."""
    size: int | None = None
    """Bytes of the file at `url`, where known."""
    licence: str = "Apache-2.0"
    packaged: bool = False
    """Whether the weights are part of this package."""
    two_sided: bool = False
    """Whether objects are followed between two prompts from both of them, which its
    configuration says too."""

    @property
    def config(self) -> str:
        """Name under which the builders know the model."""
        return self.name

    @property
    def is_hq(self) -> bool:
        """Whether the mask decoder has the high-quality token."""
        return "_hq_" in self.name

    @property
    def file_name(self) -> str:
        """Name of the weights file in the cache folder, or in the package."""
        return f"{self.name}.safetensors" if self.packaged else f"{self.name}.pt"


TRUNKS = {
    "tiny": (96, 12),
    "small": (96, 16),
    "base_plus": (112, 24),
    "large": (144, 48),
}


def _published(
    size_name: str, size: int | None, sha256: str | None, *, is_hq: bool = False
) -> CheckpointSpec:
    name = f"sam2.1_{'hq_' if is_hq else ''}hiera_{size_name}"
    return CheckpointSpec(
        name=name,
        trunk=TRUNKS[size_name],
        url=f"{HQ_ADDRESS if is_hq else SAM2_ADDRESS}/{name}.pt",
        sha256=sha256,
        size=size,
    )


def _unpublished(size_name: str) -> CheckpointSpec:
    return CheckpointSpec(name=f"sam2.1_hq_hiera_{size_name}", trunk=TRUNKS[size_name])


_SPECS = (
    CheckpointSpec(
        name=DEFAULT_MODEL,
        trunk=(48, 8),
        packaged=True,
        two_sided=True,
        sha256="d9c5bb6a6a966f2e938bbcf5480aeef531a21f2c41038b1e37a6cb438c6cf8bd",
        size=15_508_254,
    ),
    _published(
        "tiny",
        156_008_466,
        "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
    ),
    _published(
        "small",
        184_416_285,
        "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
    ),
    _published(
        "base_plus",
        323_606_802,
        "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
    ),
    _published(
        "large",
        898_083_611,
        "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
    ),
    _unpublished("tiny"),
    _unpublished("small"),
    _unpublished("base_plus"),
    _published("large", None, None, is_hq=True),
)
REGISTRY = {spec.name: spec for spec in _SPECS}
"""Every model by its name."""


def get(name: str) -> CheckpointSpec:
    """Look up a model.

    Raises
    ------
    CheckpointError
        If no model has this name.
    """
    if name not in REGISTRY:
        msg = f"Unknown model {name!r}. Choose one of {', '.join(REGISTRY)}."
        raise CheckpointError(msg)
    return REGISTRY[name]


def packaged_path(spec: CheckpointSpec) -> Path:
    """Path at which this package carries, or would carry, the weights of a model."""
    folder = resources.files("napari_hqsam2.weights") / "data"
    return Path(str(folder / spec.file_name))
