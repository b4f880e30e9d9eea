"""YAML of bounded size: what it says, or one reason why not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masqclip_d2.yaml_data import load_yaml


def test_plain_values():
    text = "a: 1\nb: [x, 2.5, true, null]\nc: {d: &one [1, 2], e: *one}\n"
    assert load_yaml(text) == {"a": 1, "b": ["x", 2.5, True, None], "c": {"d": [1, 2], "e": [1, 2]}}
    assert load_yaml("") is None and load_yaml("# nothing\n") is None and load_yaml("text") == "text"


def test_merged_mappings():
    assert load_yaml("base: &base {a: 1}\nmore:\n  <<: *base\n  b: 2\n")["more"] == {"a": 1, "b": 2}


def laughs(levels):
    lines = ["a0: &a0 [ha, ha]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [1\n", "line 2, column 1: expected"),
        ("a: 1\n\tb: 2\n", "line 2, column 1"),
        ("a: 1\nb: 2\na: 3\n", "line 3 has the key 'a' a second time"),
        ("a: &a [*a]\n", "line 1 contains itself by an alias"),
        ("a: &a {b: *a}\n", "line 1 contains itself by an alias"),
        (laughs(10), "has more than 1000000 values by its aliases"),
        ("[" * 5000, "nested too deeply"),
        ("a: !!python/object/apply:os.system [echo]\n", "line 1, column 4: could not determine a constructor"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1: but found another document"),
        ("a: 2020-99-99\n", "line 1 has a value of the kind timestamp; write it in quotes"),
        ("a: 1\nb: !!set {x, y}\n", "line 2 has a value of the kind set"),
        ("a: !!int ''\n", "a value is not of the kind that its tag says"),
        ("a: !!bool maybe\n", "a value is not of the kind that its tag says"),
        ("? [1, 2]\n: 3\n", "line 1, column 3: found unhashable key"),
        ("a: \x00", "special characters are not allowed"),
        ("a:\n  b: 1" + ":1" * 200_000, "line 2 has a number of 400001 characters"),
        ("a: !!float 1" + ":1" * 200_000, "line 1 has a number of 400001 characters"),
        ("a: *unknown", "line 1, column 4: found undefined alias"),
    ],
)
def test_what_cannot_be_read(text, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        load_yaml(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab01.:-[]{},&*!?|>'\"#%@<=~\t \n", max_size=60))
def test_any_text_is_a_value_or_one_error(text):
    try:
        load_yaml(text)
    except ValueError as error:
        assert str(error)
