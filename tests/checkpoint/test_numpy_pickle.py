"""Pickled arrays are read as data; whatever else a file says is refused without being done."""

import collections
import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import masqclip_d2
from masqclip_d2.checkpoint.numpy_pickle import load_numpy_pickle


def load(folder, content, **options):
    path = folder / "file.pkl"
    path.write_bytes(content)
    with path.open("rb") as file:
        return load_numpy_pickle(file, **options)


def refused(folder, content, reason):
    with pytest.raises(pickle.UnpicklingError, match=reason):
        load(folder, content)


ARRAYS = {
    **{
        name: np.arange(6).reshape(2, 3).astype(name) for name in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u8")
    },
    "bool": np.array([True, False]),
    "scalar": np.array(2.5),
    "empty": np.zeros((0, 4)),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">f4"),
    "strided": np.arange(12.0)[::3],
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_all_protocols(tmp_path, protocol):
    content = collections.OrderedDict(model=ARRAYS, __author__="test", numbers=[1, 2.5, None, (True, b"bytes")])
    content["number"] = np.float32(1.5)
    found = load(tmp_path, pickle.dumps(content, protocol=protocol))
    assert list(found) == ["model", "__author__", "numbers", "number"] and found["number"] == np.float32(1.5)
    assert found["numbers"] == [1, 2.5, None, (True, b"bytes")] and type(found["number"]) is np.float32
    for name, array in ARRAYS.items():
        assert np.array_equal(found["model"][name], array) and found["model"][name].shape == array.shape
        assert found["model"][name].dtype == array.dtype.newbyteorder("=")


def test_text_of_python_2_is_the_bytes_of_an_array(tmp_path):
    array = np.array([2.0, 0.0], dtype="f4")  # bytes below 128, which are the same as text
    content = pickle.dumps({"a": array}, protocol=2)
    start = content.index(array.tobytes()) - 5  # of the text, with its length
    assert content[start - 2 : start - 1] == b"h"  # the function, stored before
    text = content[start : start + 5 + len(array.tobytes())]
    written = content[: start - 2] + text + content[content.index(b"R", start) + 1 :]
    assert np.array_equal(load(tmp_path, written)["a"], array)


class _Attack:
    def __init__(self, function, *arguments):
        self._call = (function, arguments)

    def __reduce__(self):
        return self._call


def test_no_function_is_called(tmp_path, capsys):
    for protocol in (0, 2, 4):
        refused(tmp_path, pickle.dumps({"a": _Attack(print, "this ran")}, protocol=protocol), r"builtins?(__)?\.print")
    refused(tmp_path, pickle.dumps(Path("x")), "pathlib")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("dtype", ["O", "U1", "S2", "M8[s]", "c8", "V4", [("a", "f4"), ("b", "i2")]], ids=str)
def test_other_types_than_numbers(tmp_path, dtype):
    refused(tmp_path, pickle.dumps({"a": np.zeros(2, dtype=dtype)}), "array holds|no plain number|values of an array")


def test_a_type_that_is_changed_after_its_array(tmp_path):
    """BUILD on a type that an array already has once turned the array's bytes into pointers to objects."""
    dtype = b"cnumpy\ndtype\n(X\x02\x00\x00\x00i8I00\nI01\ntRq\x01"
    state = b"(I3\nX\x01\x00\x00\x00|NNNI8\nI8\nI63\ntb"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR(I1\n(I1\nt" + dtype
        + b"I00\nC\x08" + struct.pack("<q", 0x4141414141414141) + b"tb"
    )  # fmt: skip
    found = load(tmp_path, b"\x80\x02}X\x01\x00\x00\x00a" + array + b"s.")
    assert found["a"].tolist() == [0x4141414141414141]
    changed = b"\x80\x02}X\x01\x00\x00\x00a" + array + b"sX\x01\x00\x00\x00bh\x01" + state + b"s."
    try:
        found = load(tmp_path, changed)
    except pickle.UnpicklingError:
        return
    assert all(array.dtype != object for array in found.values() if isinstance(array, np.ndarray))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "."),
        (b"\x80\x02", "."),
        (b"r\xf0\xff\xff\x7f.", "counts|opcode|argument"),  # an index of 2 billion objects
        (b"\x80\x04\x8e\xff\xff\xff\xff\x0f\x00\x00\x00.", "bytes"),  # 64 GB of bytes
        (b"\x82\x01.", "EXT1"),
        (b"(ios\nsystem\n.", "INST"),
        (b"P1\n.", "PERSID"),
        (b"(" + b"l(" * 150 + b"l" + b"a" * 150 + b".", "."),
    ],
)
def test_damaged_and_hostile_files(tmp_path, content, reason):
    refused(tmp_path, content, reason)


def test_deep_nesting_is_refused(tmp_path):
    nested = []
    for _ in range(150):
        nested = [nested]
    refused(tmp_path, pickle.dumps(nested), "nested more than 100 deep")


def test_many_references_to_a_container_cost_nothing(tmp_path):
    laughs = ["ha"]
    for _ in range(60):
        laughs = [laughs, laughs]  # 2 ** 60 strings, written out
    assert len(load(tmp_path, pickle.dumps(laughs))) == 2


@pytest.mark.parametrize("shape", [(3,), (-1,), (10**15,), (2, 2**62)])
def test_shapes_that_do_not_fit_their_bytes(tmp_path, shape):
    content = pickle.dumps({"a": np.zeros(2, dtype="f4")}, protocol=2)
    assert b"K\x02\x85" in content  # the shape (2,)
    refused(tmp_path, content.replace(b"K\x02\x85", pickle.dumps(shape, protocol=2)[2:-1]), "an array")


def test_other_objects_can_become_none(tmp_path):
    content = {"a": np.zeros(2), "names": np.array(["x", None], dtype=object), "b": Path("x")}
    found = load(tmp_path, pickle.dumps(content), others_are_none=True)
    assert found["a"].tolist() == [0.0, 0.0] and found["names"] is None and found["b"] is None


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_change_of_a_file_is_a_result_or_one_error(tmp_path_factory, data):
    content = bytearray(pickle.dumps({"model": {"a": np.arange(4.0), "b": np.float32(1)}}, protocol=2))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    path = tmp_path_factory.mktemp("fuzz") / "file.pkl"
    path.write_bytes(content)
    with path.open("rb") as file:
        try:
            load_numpy_pickle(file)
        except pickle.UnpicklingError as error:
            assert str(error)


def endless_key(levels=60):
    """A dict whose key is a tuple of two tuples of two tuples ..., one pair of opcodes for each level."""
    pairs = b"".join(
        b"h" + bytes([level]) * 1 + b"h" + bytes([level]) + b"\x86q" + bytes([level + 1]) for level in range(levels)
    )
    return b"\x80\x02)q\x00" + pairs + b"}h" + bytes([levels]) + b"K\x01s."


def test_tuples_that_contain_each_other_are_refused(tmp_path):
    refused(tmp_path, endless_key(), "tuples that contain each other too often or too deeply")
    refused(tmp_path, b"\x80\x02}N" + b"\x85" * 200_000 + b"K\x01s.", "too deeply")  # its hash overflows the stack
    assert load(tmp_path, pickle.dumps({"a": ((1, 2), (3, (4,)))})) == {"a": ((1, 2), (3, (4,)))}


def test_the_bundled_detectron2_has_the_same_reader():
    package = Path(masqclip_d2.__file__).parent
    bundled = package / "_bundled" / "detectron2" / "checkpoint" / "_numpy_pickle.py"
    assert bundled.read_text() == (package / "checkpoint" / "numpy_pickle.py").read_text()


def test_only_real_files_are_measured():
    with pytest.raises(pickle.UnpicklingError):
        load_numpy_pickle(io.BytesIO(b"."))


ENCODE = b"c_codecs\nencode\n"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(tR(K\x01"  # then shape, type, order, values
BYTE_TYPE = b"cnumpy\ndtype\n(X\x02\x00\x00\x00u1tR\x89"


def test_a_file_changes_nothing_of_the_reader(tmp_path):
    state = b"}X\x0c\x00\x00\x00__defaults__X\x01\x00\x00\x00x\x85s"
    load(tmp_path, b"\x80\x02" + ENCODE + b"N" + state + b"\x86b.")  # BUILD sets an attribute of the function
    assert load(tmp_path, b"\x80\x02" + ENCODE + b"X\x01\x00\x00\x00a\x85R.") == b"a"


def test_shapes_and_types_of_tuples_are_not_written_out(tmp_path):
    doubled = b"".join(b"q%c0h%ch%c\x86" % (level, level, level) for level in range(60))  # (t, t), 60 deep
    refused(
        tmp_path,
        b"\x80\x02" + ARRAY + b"N" + doubled + BYTE_TYPE + b"X\x00\x00\x00\x00tb.",
        "contain each other too often",
    )
    named = b"cnumpy\ndtype\n(N" + doubled + b"tR\x89X\x00\x00\x00\x00tb."
    refused(tmp_path, b"\x80\x02" + ARRAY + b")" + named, "contain each other too often")


@pytest.mark.parametrize(
    "repeated",
    [
        ARRAY + b"J\x00\x00\x01\x00\x85" + BYTE_TYPE + b"h\x01tb",  # an array of the same bytes
        ENCODE + b"h\x01\x85R",
        b"ccollections\nOrderedDict\n(h\x02tR",
    ],
)
def test_the_same_bytes_are_not_copied_often(tmp_path, repeated):
    pairs = b"](" + b"K\x01K\x02\x86" * 30_000 + b"eq\x02"
    text = b"X" + struct.pack("<I", 65536) + b"a" * 65536 + b"q\x01"
    content = b"\x80\x02(" + text + pairs
    load(tmp_path, content + repeated + b"l.")
    refused(tmp_path, content + repeated * 20 + b"l.", "the same bytes too often")


def test_an_array_that_occurs_often_is_one(tmp_path):
    array = np.arange(1000.0)
    first, *others = load(tmp_path, pickle.dumps([array] * 100))
    assert all(one is first for one in others) and (tmp_path / "file.pkl").stat().st_size < 10_000
