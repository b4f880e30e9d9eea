import argparse

from masqclip_d2.cli.main import COMMANDS
from projects.documentation.command_reference import command_pages, parser_page


def test_every_verb_and_option_has_an_entry():
    pages = command_pages()
    assert list(pages) == ["commands/index.md", *[f"commands/{name}.md" for name in COMMANDS]]
    for name, command in COMMANDS.items():
        text = pages[f"commands/{name}.md"]
        for action in command.parser()._actions:
            for option in action.option_strings:
                assert option in ("-h", "--help") or f"`{option}" in text, (name, option)


def test_the_page_of_a_parser():
    parser = argparse.ArgumentParser(
        "masqclip test", description="do it", epilog="examples:\n  masqclip test a\nIt is *quick*."
    )
    parser.add_argument("files", nargs="+", help="what to read_in")
    parser.add_argument("-k", "--kind", choices=("a", "b"), default="a")
    parser.add_argument("--size", type=int, default=3, required=True, help="torch.Size or so; default: %(default)s")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--yes", action="store_true", help="do")
    group.add_argument("--no", action="store_true", help="do not")
    lines = parser_page(parser).splitlines()
    assert lines[:6] == ["# masqclip test", "", "Do it.", "", "```text", "masqclip test [options] files [files ...]"]
    assert "| `files [files ...]` | What to read_in. |" in lines
    assert "| `-k KIND`, `--kind KIND` | One of `a`, `b`. Default: `a`. |" in lines
    assert "| `--size SIZE` | torch.Size or so; default: 3. Required. |" in lines
    assert "| `--yes` | Do. |" in lines
    assert "At most one of `--yes`, `--no`." in lines
    assert "    masqclip test a" in lines and "It is \\*quick\\*." in lines
