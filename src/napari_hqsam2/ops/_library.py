"""The operators ``torch.ops.hqsam2.*``: one schema, a twin for every device, a fake.

`torch.library.custom_op` would be shorter, but its first call imports Dynamo and with
it Triton, which no process that shows a viewer may load; `torch.library.Library` does
not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

_LIBRARY = torch.library.Library("hqsam2", "DEF")


def define_operator(
    schema: str,
    *,
    twin: Callable[..., object],
    fake: Callable[..., object],
    kernel: Callable[..., object],
) -> None:
    """Define ``torch.ops.hqsam2.<name>``.

    Parameters
    ----------
    schema : str
        Name, arguments and results, such as ``"area(Tensor mask) -> Tensor"``.
    twin : callable
        What the operator computes, in terms of other operators, on any device.
    fake : callable
        Shapes and dtypes of the results, without data.
    kernel : callable
        The same as `twin` for CUDA tensors; may itself fall back on the twin.
    """
    name = schema.partition("(")[0]
    _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, twin, "CompositeExplicitAutograd")
    _LIBRARY.impl(name, kernel, "CUDA")
    torch.library.register_fake(f"hqsam2::{name}", fake, lib=_LIBRARY)


def differentiate(
    name: str, backward: Callable[..., object], setup_context: Callable[..., None]
) -> None:
    """Give an operator a derivative; the arguments are those of torch."""
    torch.library.register_autograd(
        f"hqsam2::{name}", backward, setup_context=setup_context, lib=_LIBRARY
    )
