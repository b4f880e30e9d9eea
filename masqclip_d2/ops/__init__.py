"""Ops of the networks and of fusion, one package each: public function, reference in plain PyTorch, faster ones.

`masqclip_d2.ops.selection` describes how the implementation is chosen.

May import `precision`, `transfers` and everything below them, no Detectron2.
"""
