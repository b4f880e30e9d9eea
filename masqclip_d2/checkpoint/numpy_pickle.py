"""Reads pickled numpy arrays as data: no class of the file is ever made, no function called.

While the file is read, arrays and their types are inert records of what it says. Then arrays of numbers are built from
them, with their sizes compared to the bytes that are there. Containers, strings and numbers stay as they are. What is
made of the file takes no more memory than a small multiple of its size.

The bundled Detectron2 has the same file, so that it depends on nothing else.
"""

from __future__ import annotations

import math
import os
import pickle
import pickletools
import re
from collections.abc import Callable, Collection
from typing import IO, Any, BinaryIO

import numpy as np

_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")  # the names before and since numpy 2
_BUFFER_MODULES = ("numpy.core.numeric", "numpy._core.numeric")
# Kind and bytes of the numbers that are read, with their byte order.
_NUMBER = re.compile(r"[<>|=]?(b1|bool|i[1248]|u[1248]|f[248]|u?int(8|16|32|64)|float(16|32|64))")
_REFUSED_OPCODES = ("PERSID", "BINPERSID", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER")
_INDEX_OPCODES = ("PUT", "BINPUT", "LONG_BINPUT")
_GET_OPCODES = ("GET", "BINGET", "LONG_BINGET")
_DEEPEST = 100  # containers in containers
_READS_PER_BYTE = 10  # of values by opcodes
_LARGEST_COUNTED = 10_000_000  # bytes; the values of arrays are no opcodes
_MOST_DIMENSIONS = 32


def load_numpy_pickle(file: BinaryIO, others_are_none: bool = False) -> Any:
    """Read numpy arrays, numbers, strings and containers of these; Python 2 files as latin1.

    Args:
        file: can be read from its start.
        others_are_none: other objects, and arrays of them, become None; otherwise they are an error.

    Raises:
        pickle.UnpicklingError: the file is damaged, holds anything else, or says something that cannot be.
    """
    try:
        check_opcodes(file, _REFUSED_OPCODES)
        file.seek(0)
        allowance = _Allowance(os.fstat(file.fileno()).st_size)
        unpickler = _DataUnpickler(file, encoding="latin1")
        unpickler.others_are_none, unpickler.allowance = others_are_none, allowance
        return _Builder(others_are_none, allowance).built(unpickler.load(), 0)
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # what a damaged file makes of the unpickler's stack has no end
        raise pickle.UnpicklingError(str(error) or type(error).__name__) from error


def check_opcodes(file: IO[bytes], refused: Collection[str] = (), size: int | None = None) -> None:
    """Read a pickle without making its objects.

    Args:
        file: the pickle begins at its position; afterwards it stands behind it.
        refused: names of opcodes.
        size: of the file in bytes; None: it is asked for it.

    Raises:
        pickle.UnpicklingError: an opcode is refused, claims more memory than the file has bytes, or makes tuples that
            contain each other so often or so deeply that comparing them takes no end.
    """
    size = os.fstat(file.fileno()).st_size if size is None else size
    whole_reads: Any = _WholeReads(file, size)
    argument: Any
    tuples = _TupleSizes(_READS_PER_BYTE * min(size, _LARGEST_COUNTED) + 1000)
    for opcode, argument, _ in pickletools.genops(whole_reads):
        if opcode.name in refused:
            raise pickle.UnpicklingError(f"it has the opcode {opcode.name}, which is not data")
        if opcode.name in _INDEX_OPCODES and not 0 <= int(argument) <= size:
            raise pickle.UnpicklingError(f"it counts {argument} objects in {size} bytes")
        tuples.apply(opcode.name, argument)


class _TupleSizes:
    """The stack of a pickle: of each tuple the number of its values, with those in tuples in it; 1 of other values.

    As a key a tuple is read to its last value, each time anew.

    Args:
        allowed: values that the opcodes may read in all.
    """

    def __init__(self, allowed: int) -> None:
        self._left = allowed
        self._sizes: list[int] = []  # 0: a mark
        self._memo: dict[int, int] = {}

    def apply(self, name: str, argument: Any) -> None:
        """UnpicklingError if the opcode reads more than is left."""
        sizes = self._sizes
        if name in _INDEX_OPCODES or name == "MEMOIZE":
            self._memo[len(self._memo) if name == "MEMOIZE" else int(argument)] = sizes[-1] if sizes else 1
        elif name in _GET_OPCODES:
            sizes.append(self._memo.get(int(argument), 1))
        elif name == "MARK":
            sizes.append(0)
        else:
            takes_mark, below, above = _EFFECTS[name]
            taken = 0
            while takes_mark and sizes and (size := sizes.pop()):
                taken += size
            for _ in range(below):
                taken += sizes.pop() if sizes else 0
            self._left -= taken
            if self._left < 0:
                raise pickle.UnpicklingError("it has tuples that contain each other too often or too deeply")
            made = taken if name == "DUP" else taken + 1 if "TUPLE" in name else 1
            sizes += [made] * above


def _effect(opcode: Any) -> tuple[bool, int, int]:
    """Whether it takes what is above a mark, and how many values it takes below and puts onto the stack."""
    before = opcode.stack_before
    takes_mark = pickletools.markobject in before
    return takes_mark, before.index(pickletools.markobject) if takes_mark else len(before), len(opcode.stack_after)


_EFFECTS = {opcode.name: _effect(opcode) for opcode in pickletools.opcodes}


class _WholeReads:
    """A file whose reads are no longer than the file, so that a wrong length in it allocates no memory."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = size
        self.readline, self.tell = file.readline, file.tell

    def read(self, length: int) -> bytes:
        return self._file.read(min(length, self._size))


class _Allowance:
    """Bytes that what is made of a file may take: a file has each of them once, and may refer to them often."""

    def __init__(self, size: int) -> None:
        self._left = 2 * size

    def take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise pickle.UnpicklingError("it refers to the same bytes too often")


class _Record:
    """What the file says of an object: the arguments of its constructor, and its state."""

    def __init__(self, kind: str, *arguments: Any) -> None:
        self.kind = kind
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _recorder(kind: str) -> Callable[..., _Record]:
    def record(*arguments: Any) -> _Record:
        return _Record(kind, *arguments)

    return record


class _DataUnpickler(pickle.Unpickler):
    others_are_none = False
    allowance: _Allowance

    def find_class(self, module: str, name: str) -> Any:
        """A function made for this call, since a file can set attributes of what it refers to."""
        if name == "_reconstruct" and module in _ARRAY_MODULES:
            return _recorder("array")
        if name == "scalar" and module in _ARRAY_MODULES:
            return _recorder("scalar")
        if name == "_frombuffer" and module in _BUFFER_MODULES:
            return _recorder("buffer")
        known = {
            ("numpy", "ndarray"): "ndarray",
            ("numpy", "dtype"): _recorder("dtype"),
            ("collections", "OrderedDict"): self._dict_function(),
            ("_codecs", "encode"): self._latin1_function(),
            ("__builtin__", "bytes"): lambda: b"",  # how protocols 0 to 2 write an empty string of bytes
        }
        if (module, name) not in known:
            if self.others_are_none:
                return _recorder("other")
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is not data")
        return known[module, name]

    def _dict_function(self) -> Callable[..., dict]:
        allowance = self.allowance

        def make_dict(*arguments: Any) -> dict:
            allowance.take(sum(map(len, arguments)))
            return dict(*arguments)

        return make_dict

    def _latin1_function(self) -> Callable[..., bytes]:
        allowance = self.allowance

        def latin1(text: Any, encoding: Any = "latin1") -> bytes:
            """How protocols 0 to 2 write bytes."""
            if not isinstance(text, str) or encoding != "latin1":
                raise pickle.UnpicklingError("it encodes something else than bytes")
            allowance.take(len(text))
            return text.encode("latin1")

        return latin1


class _Builder:
    """Puts arrays in place of records; what occurs often is built once."""

    def __init__(self, others_are_none: bool, allowance: _Allowance) -> None:
        self._others_are_none = others_are_none
        self._allowance = allowance
        self._done: dict[int, Any] = {}

    def built(self, value: Any, depth: int) -> Any:
        """A value that is `depth` containers deep."""
        if depth > _DEEPEST:
            raise pickle.UnpicklingError(f"its containers are nested more than {_DEEPEST} deep")
        if not isinstance(value, (_Record, dict, list, tuple)):
            return value
        if id(value) not in self._done:
            if isinstance(value, _Record):
                built: Any = self._of_record(value)
                self._allowance.take(getattr(built, "nbytes", 0))
            elif isinstance(value, dict):
                built = {_key(key): self.built(one, depth + 1) for key, one in value.items()}
            else:
                built = type(value)(self.built(one, depth + 1) for one in value)
            self._done[id(value)] = built
        return self._done[id(value)]

    def _of_record(self, record: _Record) -> Any:
        try:
            return _BUILDERS[record.kind](record)
        except pickle.UnpicklingError:
            if self._others_are_none:
                return None
            raise


def _key(key: Any) -> Any:
    if not isinstance(key, (str, int, bytes)):
        raise pickle.UnpicklingError(f"a key of a dict is of type {type(key).__name__}")
    return key


def _shown(value: Any) -> str:
    """For messages; containers that contain each other often would have a huge text."""
    return f"{value!r:.40}" if isinstance(value, str) else type(value).__name__


def _dtype(record: Any) -> np.dtype:
    if not isinstance(record, _Record) or record.kind != "dtype" or not record.arguments:
        raise pickle.UnpicklingError("an array has no type")
    name, order = record.arguments[0], ""
    if record.state is not None:
        # (version, byte order, subtype, names, fields, size, alignment, flags, ...)
        if not isinstance(record.state, tuple) or len(record.state) < 5 or any(record.state[2:5]):
            raise pickle.UnpicklingError(f"the type {_shown(name)} of an array is no plain number")
        order = record.state[1]
    if not isinstance(name, str) or not isinstance(order, str) or not _NUMBER.fullmatch(order + name.lstrip("<>|=")):
        raise pickle.UnpicklingError(f"an array holds {_shown(name)}; only integers, floats and truth values are read")
    return np.dtype(name).newbyteorder(order) if order in ("<", ">") else np.dtype(name)


def _shaped(raw: Any, dtype: np.dtype, shape: Any, fortran: bool) -> np.ndarray:
    if not isinstance(raw, (bytes, bytearray, str)):
        raise pickle.UnpicklingError(f"the values of an array are of type {type(raw).__name__}, not bytes")
    sizes = shape if isinstance(shape, tuple) else (shape,)
    if len(sizes) > _MOST_DIMENSIONS or not all(isinstance(side, int) and 0 <= side < 2**63 for side in sizes):
        raise pickle.UnpicklingError(f"the shape of an array is not one of at most {_MOST_DIMENSIONS} sizes")
    if math.prod(sizes) * dtype.itemsize != len(raw):
        raise pickle.UnpicklingError(f"an array of shape {sizes} and type {dtype} has {len(raw)} bytes")
    data = raw.encode("latin1") if isinstance(raw, str) else bytes(raw)  # text: of Python 2
    array = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))
    return array.reshape(sizes, order="F" if fortran else "C")


def _built_array(record: _Record) -> np.ndarray:
    if not isinstance(record.state, tuple) or len(record.state) != 5:
        raise pickle.UnpicklingError("an array has no values")
    _, shape, dtype, fortran, raw = record.state
    return _shaped(raw, _dtype(dtype), shape, bool(fortran))


def _built_scalar(record: _Record) -> Any:
    dtype, raw = record.arguments
    return _shaped(raw, _dtype(dtype), (), False)[()]


def _built_buffer(record: _Record) -> np.ndarray:
    raw, dtype, shape, order = record.arguments
    return _shaped(raw, _dtype(dtype), shape, order == "F")


def _built_dtype(record: _Record) -> str:
    return str(_dtype(record))


_BUILDERS: dict[str, Callable[[_Record], Any]] = {
    "other": lambda record: None,
    "array": _built_array,
    "scalar": _built_scalar,
    "buffer": _built_buffer,
    "dtype": _built_dtype,
}
