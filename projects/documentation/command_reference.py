"""Pages of the command `masqclip`, one per verb, from its argument parsers."""

from __future__ import annotations

import argparse
import re

from masqclip_d2.cli.main import COMMANDS

from .markdown import literal, table


def command_pages() -> dict[str, str]:
    """Page names -> Markdown, in the order of the help text."""
    rows = [[f"[`{name}`]({name}.md)", literal(command.summary)] for name, command in COMMANDS.items()]
    pages = {
        "commands/index.md": "# Commands\n\n`masqclip VERB ...`, which is also `python -m masqclip_d2 VERB ...`. These "
        "pages are made from the argument parsers.\n\n" + table(["verb", "what it does"], rows)
    }
    for name, command in COMMANDS.items():
        pages[f"commands/{name}.md"] = parser_page(command.parser(f"masqclip {name}"))
    return pages


def parser_page(parser: argparse.ArgumentParser) -> str:
    """Markdown of all arguments of a parser, with its description and epilog."""
    positional = [action for action in parser._actions if not action.option_strings]
    synopsis = " ".join([parser.prog, "[options]", *(_value(action) for action in positional)])
    lines = [f"# {parser.prog}", "", literal(_sentence(parser.description or "")), "", "```text", synopsis, "```", ""]
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if not isinstance(action, argparse._HelpAction)]
        if actions:
            lines += [f"## {(group.title or 'arguments').capitalize()}", ""]
            lines += [table(["argument", "meaning"], [[_name(action), _meaning(action)] for action in actions])]
    for choice in parser._mutually_exclusive_groups:
        names = ", ".join(f"`{action.option_strings[0]}`" for action in choice._group_actions)
        lines += [f"{'Exactly' if choice.required else 'At most'} one of {names}.", ""]
    return "\n".join([*lines, *_epilog(parser.epilog or "")])


def _name(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{_value(action)}`"
    return ", ".join(f"`{f'{option} {_value(action)}'.strip()}`" for option in action.option_strings)


def _value(action: argparse.Action) -> str:
    """What stands for the value of an argument: nothing for a flag."""
    if action.nargs == 0:
        return ""
    name = str(action.metavar or (action.dest.upper() if action.option_strings else action.dest))
    many = {"+": f"{name} [{name} ...]", "*": f"[{name} ...]", argparse.REMAINDER: f"[{name} ...]", "?": f"[{name}]"}
    return many.get(action.nargs, name)


def _meaning(action: argparse.Action) -> str:
    words = action.help or ""
    if "%(" in words:
        words = words % vars(action)
    sentences = [literal(_sentence(words))] if words else []
    choices = [str(choice) for choice in action.choices or []]
    if not all(choice in words for choice in choices):
        sentences.append(f"One of {', '.join(f'`{choice}`' for choice in choices)}.")
    if action.option_strings and action.required:
        sentences.append("Required.")
    if not words and isinstance(action.default, str | int | float) and action.nargs != 0:
        sentences.append(f"Default: `{action.default}`.")
    return " ".join(sentences)


def _epilog(text: str) -> list[str]:
    """Examples as code blocks, other lines as text."""
    lines: list[str] = []
    for line in text.strip().splitlines():
        if line.strip() == "examples:":
            lines += ["", "## Examples", ""]
        elif line.startswith("  "):
            lines.append(f"    {line.strip()}")
        else:
            lines += [""] * bool(lines and lines[-1].startswith("    ")) + [literal(line)]
    return [*lines, ""]


def _sentence(words: str) -> str:
    words = words.strip()
    first = words.split(" ", 1)[0]
    start = words[:1] if re.search(r"\w[._=]\w", first) else words[:1].upper()  # a name stays as it is
    return start + words[1:] + ("." if words and words[-1] not in ".:?" else "")
