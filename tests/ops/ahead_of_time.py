"""Compiles the Triton kernels for GPUs that are not there, and reads from the machine code what they need.

    python -m tests.ops.ahead_of_time [--few] [NAME ...]

prints a JSON line per architecture and row of `ROWS` whose name contains one of the words; with --few two rows of each
kernel, the first and the last, each for one architecture. Another version of Triton can be tried by PYTHONPATH.
TRITON_INTERPRET must not be set.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from masqclip_d2.ops.mask_refinement import kernels as mask_refinement
from masqclip_d2.ops.masked_attention import kernels as masked_attention
from masqclip_d2.ops.ms_deform_attn import kernels as ms_deform_attn
from masqclip_d2.ops.panoptic_winners import kernels as panoptic_winners
from masqclip_d2.ops.panoptic_winners import operator as panoptic_winners_operator
from masqclip_d2.ops.relative_scores import kernels as relative_scores
from masqclip_d2.ops.semantic_labels import kernels as semantic_labels
from masqclip_d2.ops.semantic_labels import operator as semantic_labels_operator

ARCHITECTURES = {80: 163 * 1024, 90: 227 * 1024}  # compute capability * 10 -> bytes of shared memory for a program
_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


class Row(NamedTuple):
    """A kernel at one size.

    Args:
        name: unique.
        kernel: the `triton.jit` function.
        arguments: type ("*bf16", "fp32") by name, or value of a constexpr, or 1 for an integer that is 1, for which
            Triton compiles a kernel of its own; those left out are "i32".
        tensor_cores: matrix products are done by tensor cores (half precision).
        num_warps: of a program; num_stages: steps of a loop that are loaded ahead.
        max_registers: of a thread; None: ptxas chooses, and may spill a few for more programs at once.
    """

    name: str
    kernel: Any
    arguments: dict[str, Any]
    tensor_cores: bool
    num_warps: int = 4
    num_stages: int = 3
    max_registers: int | None = None


def _attention(kernel, dtype: str, head_width: int, block_q: int, bias: bool) -> Row:
    tensors = dict.fromkeys(("query", "key", "value", "bias", "output", "grad_output"), f"*{dtype}")
    tensors |= dict.fromkeys(("grad_key", "grad_value", "grad_bias"), f"*{dtype}")
    tensors |= {"words": "*i64", "anywhere": "*i32", "lse": "*fp32", "delta": "*fp32", "grad_query": "*fp32"}
    constants = {"HAS_BIAS": bias, "EVERYWHERE": not bias, "D": head_width, "BLOCK_D": head_width, "BLOCK_Q": block_q}
    name = f"masked_attention{kernel.fn.__name__} {dtype} d {head_width} tile {block_q}{' bias' * bias}"
    return Row(name, kernel, {**tensors, **constants, "scale": "fp32"}, dtype != "fp32", 8 if dtype == "fp32" else 4)


def _deformable(kernel, dtype: str) -> Row:
    tensors = {"value": f"*{dtype}", "output": f"*{dtype}", "grad_output": f"*{dtype}", "levels": "*i32"}
    tensors |= dict.fromkeys(("locations", "weights", "grad_value", "grad_locations", "grad_weights"), "*fp32")
    constants = {"LEVELS": 3, "POINTS": 4, "D": 32, "BLOCK_D": 32, "BLOCK_Q": 32}
    return Row(f"ms_deform_attn{kernel.fn.__name__} {dtype}", kernel, {**tensors, **constants}, False)


def _refinement(kernel, dtype: str, tile: tuple[int, int], num_stages: int) -> Row:
    tensors = dict.fromkeys(("query", "key", "weight"), f"*{dtype}")
    tensors |= dict.fromkeys(
        ("masks", "bias", "refined", "maxima", "grad", "grad_query", "grad_key", "grad_weight"), "*fp32"
    )
    constants = {"PATCH": 14, "PIXELS": 196, "BLOCK_I": tile[0], "BLOCK_J": tile[1], "BLOCK_K": 32, "BLOCK_C": 256}
    name = f"mask_refinement{kernel.fn.__name__} {dtype}"
    return Row(name, kernel, {**tensors, **constants}, dtype != "fp32", 8, num_stages)


_TAPS = {"row_index": "*i32", "row_weight": "*fp32", "column_index": "*i32", "column_weight": "*fp32"}


def _semantic(dtype: str, num_masks: int, *ones: str) -> Row:
    """Any number of columns: 150, 847 and 10,000 run the same code."""
    block, rest = semantic_labels_operator._blocks(num_masks)
    tile = semantic_labels_operator._tile(block + rest)
    tensors = {"masks": f"*{dtype}", "weights_high": "*fp16", "weights_low": "*fp16", "labels": "*i32", **_TAPS}
    constants = {"SCALE": 2.0**15, "BLOCK_Q": block, "REST_Q": rest, "BLOCK_K": tile.columns, "BLOCK_W": tile.pixels}
    arguments = {**tensors, "scores": "*fp32", "unscale": "fp32", **constants, **dict.fromkeys(ones, 1)}
    name = f"semantic_labels {dtype} {num_masks} masks {' '.join(ones)}"
    return Row(name, semantic_labels._semantic_labels_kernel, arguments, True, tile.num_warps, tile.num_stages)


def _panoptic(dtype: str, num_masks: int, *ones: str) -> Row:
    block_q, block_w, num_warps = panoptic_winners_operator._tile(num_masks)
    tensors = {"masks": f"*{dtype}", "probs": "*fp32", "winners": "*i32", "areas": "*i32", **_TAPS}
    arguments = {**tensors, "ROWS": 16, "BLOCK_Q": block_q, "BLOCK_W": block_w, **dict.fromkeys(ones, 1)}
    name = f"panoptic_winners {dtype} {num_masks} masks {' '.join(ones)}"
    limit = panoptic_winners_operator._MAX_REGISTERS
    return Row(name, panoptic_winners._panoptic_winners_kernel, arguments, False, num_warps, max_registers=limit)


_FORWARD, _OF_QUERY, _OF_KEY = (
    masked_attention._forward_kernel,
    masked_attention._query_gradient_kernel,
    masked_attention._key_gradient_kernel,
)
ROWS = [
    Row("pack_bits", masked_attention._pack_bits_kernel,
        {"mask": "*u8", "words": "*i64", "anywhere": "*i32", "BLOCK_W": 8}, False),
    *(Row(f"predicted_bits {dtype}", masked_attention._predicted_bits_kernel,
          {"embedding": f"*{dtype}", "features": f"*{dtype}", "words": "*i64", "anywhere": "*i32",
           "BLOCK_Q": 64, "BLOCK_C": 32}, dtype != "fp32", 8 if dtype == "fp32" else 4) for dtype in ("bf16", "fp32")),
    # Mask class tokens: 577 keys, small tiles. Mask decoder: thousands of keys, all 100 queries in a tile.
    *(_attention(_FORWARD, dtype, 64, 32, bias) for dtype in ("bf16", "fp16") for bias in (False, True)),
    _attention(_FORWARD, "fp32", 64, 16, True),
    _attention(_FORWARD, "bf16", 64, 64, False),
    _attention(_FORWARD, "bf16", 32, 128, False),
    _attention(_FORWARD, "fp32", 32, 32, False),
    *(_attention(_OF_QUERY, "bf16", 64, 32, bias) for bias in (False, True)),
    *(_attention(_OF_KEY, "bf16", 64, 16, bias)._replace(num_stages=1) for bias in (False, True)),
    *(_attention(kernel, "bf16", 32, 64, False) for kernel in (_OF_QUERY, _OF_KEY)),
    _attention(_OF_QUERY, "fp32", 64, 16, True),
    _attention(_OF_KEY, "fp32", 64, 16, True)._replace(num_stages=1),
    *(_attention(kernel, "fp32", 32, 16, False) for kernel in (_OF_QUERY, _OF_KEY)),
    *(_deformable(kernel, dtype) for kernel in (ms_deform_attn._forward_kernel, ms_deform_attn._backward_kernel)
      for dtype in ("bf16", "fp32")),
    _refinement(mask_refinement._forward_kernel, "bf16", (4, 32), 3),
    _refinement(mask_refinement._forward_kernel, "fp32", (2, 32), 3),
    *(_refinement(kernel, dtype, (4, 16), 1) for dtype in ("bf16", "fp32")
      for kernel in (mask_refinement._token_gradient_kernel, mask_refinement._weight_gradient_kernel)),
    Row("relative_scores", relative_scores._forward_kernel,
        {**dict.fromkeys(("masks", "root", "linear", "constant"), "*fp32"), "scores": "*bf16", "eps": "fp32",
         "scale": "fp32", "CLASS_TOKEN": True, "PATCH": 14, "PIXELS": 196, "ROWS": 208, "N": 16,
         "BLOCK_N": 16, "BLOCK_M": 64, "BLOCK_K": 16, "BLOCK_C": 256}, False, 8),
    *(_semantic("fp32", number) for number in (1, 50, 75, 150, 200, 380, 512)),
    *(_semantic(dtype, number, *ones) for dtype in ("fp32", "bf16") for number in (100, 300)
      for ones in ((), ("groups",))),
    _semantic("fp32", 100, "groups", "row_taps", "column_taps"),
    _semantic("fp32", 1, "Q", "first_columns", "second_columns", "groups", "plane", "width", "H", "W", "row_taps"),
    _panoptic("fp32", 100, "row_taps", "column_taps"),
    _panoptic("fp32", 1, "Q", "plane", "width", "H", "W", "row_taps", "column_taps"),
    *(_panoptic(dtype, number) for dtype in ("fp32", "bf16") for number in (30, 100, 200, 300)),
    Row("combine", masked_attention._combine_kernel,
        {"part_output": "*fp32", "part_lse": "*fp32", "output": "*bf16", "lse": "*fp32",
         "SPLITS": 16, "BLOCK_S": 16, "D": 64, "BLOCK_D": 64, "BLOCK_R": 16}, False),
]  # fmt: skip


def compile_row(row: Row, architecture: int) -> dict[str, Any]:
    """Registers, spilled bytes, shared memory and numbers of instructions of a row."""
    names = row.kernel.arg_names
    values = {name: row.arguments.get(name, "i32") for name in names}
    constant_names = {name for name, value in values.items() if not isinstance(value, str)}
    signature = {name: "constexpr" if name in constant_names else values[name] for name in names}
    constants = {(names.index(name),): values[name] for name in constant_names}
    aligned = {
        (names.index(name),): [["tt.divisibility", 16]]
        for name in names
        if str(signature[name]).startswith("*") or (name.startswith("stride") and not name.endswith("bq"))
    }
    source = ASTSource(fn=row.kernel, signature=signature, constexprs=constants, attrs=aligned)
    compiled = triton.compile(
        source,
        target=GPUTarget("cuda", architecture, 32),
        options={"num_warps": row.num_warps, "num_stages": row.num_stages, "maxnreg": row.max_registers},
    )
    return {"name": row.name, "architecture": architecture, **_resources(compiled)}


def _resources(compiled) -> dict[str, int]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = _run("cuobjdump", "-res-usage", file.name)
        code = _run("nvdisasm", "-c", file.name)
    found = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)}
    return {
        "registers": found["REG"],
        "spills": len(re.findall(r"\b(?:LDL|STL)\b", code)),
        "shared": compiled.metadata.shared,
        "tensor_core": len(re.findall(r"\b(?:HMMA|HGMMA)\b", code)),
        "copies": len(re.findall(r"\bLDGSTS\b", code)),
    }


def _run(tool: str, *words: str) -> str:
    return subprocess.run([_TOOLS / tool, *words], capture_output=True, text=True, check=True).stdout


def few() -> list[tuple[Row, int]]:
    """The first and the last row of each kernel, with an architecture for each in turn."""
    of_kernel: dict[Any, list[Row]] = {}
    for row in ROWS:
        of_kernel.setdefault(row.kernel, []).append(row)
    chosen = [row for rows in of_kernel.values() for row in ([rows[0], rows[-1]] if len(rows) > 1 else rows)]
    architectures = tuple(ARCHITECTURES)
    return [(row, architectures[index % len(architectures)]) for index, row in enumerate(chosen)]


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--few", action="store_true")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args(words)
    pairs = few() if args.few else [(row, architecture) for row in ROWS for architecture in ARCHITECTURES]
    for row, architecture in pairs:
        if not args.names or any(name in row.name for name in args.names):
            print(json.dumps({**compile_row(row, architecture), "expects": row.tensor_cores}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
