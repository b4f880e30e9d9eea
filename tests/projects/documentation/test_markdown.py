from projects.documentation.markdown import (
    anchor_of,
    breakable_table_code,
    code_spans,
    headings,
    literal,
    outside_code,
    table,
)

PAGE = "# Title\n\nText `a` b.\n\n```python\n# no heading\nb = `b`\n```\n\n## `masqclip demo`, a verb\n"


def test_fenced_code_is_left_alone():
    changed = outside_code(PAGE, str.upper)
    assert "# TITLE" in changed and "# no heading\nb = `b`" in changed and "A VERB" in changed


def test_code_spans_are_changed_in_text_only():
    assert code_spans(PAGE, lambda code: code.replace("a", "x")).count("`x`") == 1
    assert "b = `b`" in code_spans(PAGE, lambda code: "-")


def test_headings_and_the_anchors_that_git_hosts_give_them():
    assert list(headings(PAGE)) == [(1, "Title"), (2, "`masqclip demo`, a verb")]
    assert anchor_of("`masqclip demo`, a verb") == "masqclip-demo-a-verb"
    assert anchor_of("Which `--model`? [This](x.md) & that") == "which---model-this--that"


def test_cells_of_a_table_have_no_bars_of_their_own():
    assert table(["a", "b"], [["x|y", "`p|q`\nz"]]).splitlines()[-1] == "| x\\|y | `p|q` z |"


def test_literal_text_shows_the_same():
    assert literal("an *.png of [0, 1], x_y, _z, `_a*`") == "an \\*.png of \\[0, 1\\], x_y, \\_z, `_a*`"


def test_code_in_tables_may_break_and_shows_bars():
    text = "Text `a/b`.\n\n| `tests/a_b.py` | `dog\\|<puppy>` 1.5 |\n\n```\n| `a/b` |\n```\n"
    changed = breakable_table_code(text)
    row = "| <code>tests/<wbr>a_<wbr>b.<wbr>py</code> | <code>dog&#124;&lt;puppy&gt;</code> 1.5 |"
    assert changed == text.replace("| `tests/a_b.py` | `dog\\|<puppy>` 1.5 |", row)
