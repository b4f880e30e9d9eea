"""The part of Detectron2's interface that masqclip_d2 uses, as a small implementation of our own in pure Python.

It answers `import detectron2` only where the real library is missing (`masqclip_d2/_compat.py`). Names, arguments and
exception types are Detectron2's, which is why wrong arguments raise AssertionError in places. A name that is missing
here exists only in the real library, which takes over as soon as it can be imported.
"""

# Imported under a second name, every registry and catalog would exist twice.
if __name__ != "detectron2":
    raise ImportError(f"{__name__} must not be imported; import masqclip_d2, then `import detectron2`.")

__version__ = "0.6+masqclip.subset"
__bundled__ = True
