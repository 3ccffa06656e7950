"""``torch.ops.hqsam2.*`` as torch wants operators, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

# opcheck imports Dynamo and Triton, which must not share a process with a window.
CODE = """
import sys
import torch
from napari_hqsam2.ops import compose_labels, connected_components, prepare_mask, rotate

device = sys.argv[2]
generator = torch.Generator().manual_seed(0)
mask = (torch.rand(3, 20, 31, generator=generator) < 0.5).to(device)
logits = torch.randn(3, 9, 8, generator=generator).to(device)
ids = torch.tensor([3, 1, 2], device=device)
boxes = compose_labels.positive_boxes(logits)
labels = torch.zeros(40, 50, dtype=torch.int32, device=device)
tokens = torch.randn(2, 12, 8, generator=generator).to(device)
table = torch.rand(6, 4, generator=generator).to(device)
CALLS = (
    ("connected_components", (mask,)),
    ("small_components", (mask, 3)),
    ("positive_boxes", (logits,)),
    ("compose_labels", (logits, ids, boxes, None, labels)),
    ("compose_labels", (logits, ids, boxes, boxes, labels)),
    ("prepare_mask", (logits[:, None], False, 20.0, -10.0, torch.bfloat16)),
    ("rotate_pairs", (tokens, table, table, False)),
    ("rotate_pairs", (tokens.requires_grad_(), table, table, True)),
    ("rotate_pairs", (tokens.requires_grad_(), table[:5], table[:5], True, 2)),
)
for name, arguments in CALLS:
    operator = getattr(torch.ops.hqsam2, name).default
    if sys.argv[1] == "opcheck":
        torch.library.opcheck(operator, arguments)
    operator(*arguments)
print(*(name for name in ("torch._dynamo", "triton") if name in sys.modules))
"""


def _run(*arguments: str) -> list[str]:
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", CODE, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=pytest.mark.needs_cuda)]
)
def test_opcheck(device: str) -> None:
    assert _run("opcheck", device) == ["torch._dynamo", "triton"]


def test_calls_do_not_bring_triton_into_a_viewer() -> None:
    assert _run("call", "cpu") == []
