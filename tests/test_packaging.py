"""What a user gets by pip: everything the package reads at run time is in the wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "napari_hqsam2"
LEFT_BEHIND = (
    ".git",
    ".venv*",
    ".*_cache",
    ".hypothesis",
    "__pycache__",
    "_version.py",
)
MAX_WHEEL_MIB = 24

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with an sdist of a tree without git, and the wheel made from it."""
    folder = tmp_path_factory.mktemp("build")
    tree, output = folder / "tree", folder / "output"
    ignored = (*LEFT_BEHIND, "build", "dist", "demo-output", "training-runs")
    ignore = shutil.ignore_patterns(*ignored)
    shutil.copytree(ROOT, tree, symlinks=True, ignore=ignore)
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", output, tree],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return output


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def _metadata_file(wheel: zipfile.ZipFile, name: str) -> str:
    (path,) = (item for item in wheel.namelist() if item.endswith(f".dist-info/{name}"))
    return wheel.read(path).decode()


def test_wheel_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    files = (path for path in PACKAGE.rglob("*") if path.is_file())
    expected = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in files
        if "__pycache__" not in path.parts
    }
    assert expected - set(wheel.namelist()) == set()


@pytest.mark.parametrize(
    "pattern",
    [
        "napari.yaml",
        "py.typed",
        "_version.py",
        "configs/*/*.yaml",
        "kernels/common.cuh",
        "kernels/connected_components.cu",
    ],
)
def test_wheel_holds_what_is_read_at_run_time(
    wheel: zipfile.ZipFile, pattern: str
) -> None:
    names = [Path(name) for name in wheel.namelist()]
    assert any(name.match(f"napari_hqsam2/{pattern}") for name in names)


def test_wheel_and_sdist_hold_every_kernel(built: Path, wheel: zipfile.ZipFile) -> None:
    files = {path.name for path in (ROOT / "kernels").iterdir()}
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {name for name in files if name.endswith(".cu")}
    assert {f"napari_hqsam2/kernels/{name}" for name in files} <= set(wheel.namelist())
    assert {f"kernels/{name}" for name in files} <= names


def test_wheel_holds_the_built_in_weights_and_stays_small(
    built: Path, wheel: zipfile.ZipFile
) -> None:
    weights = "napari_hqsam2/weights/data/sam2.1_hq_hiera_nano.safetensors"
    assert wheel.getinfo(weights).file_size > 1_000_000
    (path,) = built.glob("*.whl")
    assert path.stat().st_size < MAX_WHEEL_MIB * 2**20


def test_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    roots = {name.split("/")[0] for name in wheel.namelist()}
    assert {root for root in roots if not root.endswith(".dist-info")} == {
        "napari_hqsam2"
    }


def test_wheel_announces_the_manifest_and_the_command(wheel: zipfile.ZipFile) -> None:
    entry_points = _metadata_file(wheel, "entry_points.txt")
    assert (
        "[napari.manifest]\nnapari-hqsam2 = napari_hqsam2:napari.yaml" in entry_points
    )
    assert "napari-hqsam2 = napari_hqsam2.cli:app" in entry_points


def test_version_needs_no_git(wheel: zipfile.ZipFile) -> None:
    metadata = Parser().parsestr(_metadata_file(wheel, "METADATA"))
    assert metadata["Version"] == "0.1.0"
    assert metadata["License-Expression"] == "Apache-2.0"


def test_sdist_holds_the_tests_and_how_to_run_them(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "constraints.txt", "tests/conftest.py", "LICENSE"} <= names
    assert "src/napari_hqsam2/napari.yaml" in names
