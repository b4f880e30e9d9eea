"""Ops of the networks, one package each: a public function, a reference in plain PyTorch, and faster implementations.

`masqclip_d2.ops.selection` describes how the implementation is chosen.
"""
