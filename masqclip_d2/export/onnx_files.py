"""ONNX: the graph of a part as a file, with names of its own for inputs, outputs and free sizes."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from ..optional_packages import require_packages
from .parts import Part

OPSET = 18
_PACKAGES = ("onnx", "onnxscript")
_LARGEST_FILE = 1_500_000_000  # bytes of weights; protobuf ends at 2 GB, so more are in a file of their own


def require_onnx() -> None:
    """Raise ImportError if the packages that write ONNX are missing."""
    require_packages("An ONNX file", "export", *_PACKAGES)


def save_onnx(program: ExportedProgram, part: Part, path: Path, properties: Mapping[str, str]) -> list[Path]:
    """Write an ONNX file.

    Args:
        program: the graph of `part`.
        path: of the file; weights of more than 1.5 GB are beside it, in NAME.onnx.data.
        properties: of the model in the file.

    Returns:
        The files.

    Raises:
        ImportError: onnx or onnxscript is missing.
    """
    require_onnx()
    with _quiet():
        converted: Any = torch.onnx.export(
            program,
            input_names=[tensor.name for tensor in part.inputs],
            output_names=[tensor.name for tensor in part.outputs],
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    _name_sizes(converted.model.graph, part)
    _forget_details(converted.model.graph)
    converted.model.metadata_props.update(properties)
    weights = sum(value.const_value.nbytes for value in converted.model.graph.initializers.values())
    beside = weights > _LARGEST_FILE
    converted.save(str(path), external_data=beside)
    return [path, path.with_name(f"{path.name}.data")] if beside else [path]


@contextlib.contextmanager
def _quiet():
    """Without the exporter's progress and its warnings about its own internals; errors pass."""
    logger = logging.getLogger("onnxscript")
    level = logger.level
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def _name_sizes(graph: Any, part: Part) -> None:
    """Give the free sizes of inputs and outputs the names of `part` in place of the exporter's."""
    for value, tensor in zip((*graph.inputs, *graph.outputs), (*part.inputs, *part.outputs), strict=True):
        for axis, size in enumerate(tensor.shape):
            if not isinstance(value.shape[axis], int):
                value.shape[axis] = size


def _forget_details(graph: Any) -> None:
    """Leave out what is not needed: sizes inside of the graph under the exporter's names, and the stack trace of each
    node, which has paths of this machine."""
    outputs = set(graph.outputs)
    for node in graph:
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
            if value not in outputs:
                value.shape = None
