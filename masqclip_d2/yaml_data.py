"""Reads YAML as data of bounded size."""

from __future__ import annotations

from typing import Any

import yaml

_LONGEST_NUMBER = 1000  # characters; time for numbers in base 60 (1:30) grows with the square
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_OBJECTS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("timestamp", "binary", "set", "omap", "pairs"))
_MOST_VALUES = 1_000_000  # with what is repeated by aliases; the largest vocabularies have some tens of thousands


def load_yaml(text: str) -> Any:
    """Parse one YAML document of plain values.

    Args:
        text: the document.

    Raises:
        ValueError: it is no YAML, has dates, bytes or other objects, refers to itself, repeats a key, has a number of
            thousands of digits, or becomes huge by its aliases; the reason is a clause with the line.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node, {}, set())
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(_one_line(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (OverflowError, TypeError, AttributeError, LookupError) as error:  # keys that are lists; !!int ""
        raise ValueError(f"a value is not of the kind that its tag says ({error!r:.100})") from None


def _check(node: yaml.Node, sizes: dict[int, int], above: set[int]) -> int:
    """Number of values in a node, aliases written out; ValueError as in `load_yaml`.

    Args:
        node: to count.
        sizes: of the nodes that were counted before, by identity.
        above: identities of the nodes that contain this one.
    """
    if id(node) in above:
        raise ValueError(f"{_line(node)} contains itself by an alias")
    if id(node) not in sizes:
        if node.tag in _OBJECTS:
            kind = node.tag.rpartition(":")[2]
            raise ValueError(f"{_line(node)} has a value of the kind {kind}; write it in quotes, as text")
        if isinstance(node, yaml.MappingNode):
            _refuse_repeated_keys(node)
            children = [child for pair in node.value for child in pair]
        else:
            _refuse_long_number(node)
            children = list(node.value) if isinstance(node, yaml.SequenceNode) else []
        above.add(id(node))
        sizes[id(node)] = 1 + sum(_check(child, sizes, above) for child in children)
        above.remove(id(node))
        if sizes[id(node)] > _MOST_VALUES:
            raise ValueError(f"{_line(node)} has more than {_MOST_VALUES} values by its aliases")
    return sizes[id(node)]


def _refuse_repeated_keys(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
            continue
        if key.value in seen:
            raise ValueError(f"{_line(key)} has the key {key.value!r:.60} a second time")
        seen.add(key.value)


def _refuse_long_number(node: yaml.Node) -> None:
    if node.tag in _NUMBERS and isinstance(node, yaml.ScalarNode) and len(node.value) > _LONGEST_NUMBER:
        raise ValueError(f"{_line(node)} has a number of {len(node.value)} characters")


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"


def _one_line(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return " ".join(str(error).split())[:200]
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem:.150}"
