"""An independent implementation, in pure Python, of the part of Detectron2's interface that masqclip_d2 uses.

It is imported only if the real library is missing (`masqclip_d2/_compat.py`). Names, arguments and exception types are
Detectron2's; some wrong arguments therefore raise AssertionError. Other names of Detectron2 need the real library,
which is used as soon as it can be imported.
"""

# Imported under two names, every registry and catalog would exist twice.
if __name__ != "detectron2":
    raise ImportError(f"{__name__} must not be imported; import masqclip_d2, then `import detectron2`.")

__version__ = "0.6+masqclip.subset"
__bundled__ = True
