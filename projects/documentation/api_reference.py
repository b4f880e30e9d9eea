"""Pages of the Python API from signatures and docstrings. The source code is parsed, not imported."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from griffe import (
    Alias,
    Attribute,
    Class,
    DocstringSectionKind,
    Function,
    GriffeLoader,
    Module,
    Object,
    Parameter,
    ParameterKind,
    Parameters,
    Parser,
)

from .markdown import code_spans, literal, table

PACKAGE = "masqclip_d2"
# Public modules without a package of their own, beside the packages with `__all__`.
_MODULES = ("config", "data.registration", "data.mappers")
_HIDDEN = {"cli", "weights", "diagnostics", "categories"}
_MAX_SIGNATURE = 88  # characters of a line


def api_pages(root: Path) -> dict[str, str]:
    """Page names -> Markdown: the package itself first, then its packages in alphabetical order."""
    logging.getLogger("griffe").setLevel(logging.ERROR)  # it expects one parameter per line of `Args:`
    loader = GriffeLoader(search_paths=[root], docstring_parser=Parser.google)
    package = loader.load(PACKAGE)
    loader.resolve_aliases(implicit=True, external=False)
    assert isinstance(package, Module)
    modules = {"": package, **{name: package[name] for name in _MODULES}}
    modules |= {
        name: module
        for name, module in package.modules.items()
        if name not in _HIDDEN and module.exports and not module.is_alias
    }
    links = {}
    members = {}
    for name, module in sorted(modules.items()):
        members[name] = public_members(module)
        for member in members[name]:
            links.setdefault(member.name, (page_name(name), member.name))
    modules = {name: module for name, module in sorted(modules.items()) if members[name]}
    pages = {page_name(name): _page(module, members[name], links) for name, module in modules.items()}
    return {"api/index.md": _overview(modules), **pages}


def page_name(module: str) -> str:
    """The page of a module, named without the package; the page of the package is "package.md"."""
    return f"api/{module.replace('.', '_') or 'package'}.md"


def public_members(module: Module) -> list[Object]:
    """What `__all__` names, or else the public definitions of the module; never modules."""
    names = [str(name) for name in module.exports or []]
    if not names:
        own = [(name, member) for name, member in module.members.items() if not member.is_alias]
        names = [name for name, member in own if not name.startswith("_") and isinstance(member, Class | Function)]
    found = []
    for name in names:
        if name not in module.members:
            raise KeyError(f"{module.path} has no member {name!r} of its __all__; import it under TYPE_CHECKING.")
        member = module.members[name]
        target = member.final_target if isinstance(member, Alias) else member
        if not isinstance(target, Module):
            found.append(target)
    return found


def _overview(modules: dict[str, Module]) -> str:
    rows = []
    for name, module in modules.items():
        page = page_name(name).removeprefix("api/")
        rows.append([f"[`{module.path}`]({page})", literal(_summary(module))])
    text = "# Python API\n\nPublic classes and functions by package, from their docstrings. Shapes are written as in "
    text += "[How the package is built](../architecture.md#shape-letters).\n\n"
    return text + table(["package", "contents"], rows)


def _page(module: Module, members: list[Object], links: dict[str, tuple[str, str]]) -> str:
    page = page_name(module.path.removeprefix(PACKAGE).lstrip("."))
    lines = [f"# {module.path}", "", _prose(_summary(module)), ""]
    for member in members:
        lines += _entry(member, level=2)
    return code_spans("\n".join(lines), lambda code: _linked(code, page, links))


def _summary(module: Module) -> str:
    return module.docstring.value.strip().split("\n\n")[0].replace("\n", " ") if module.docstring else ""


def _linked(code: str, page: str, links: dict[str, tuple[str, str]]) -> str:
    """Code between backticks as a link if it is the name of a class or function with an entry."""
    name = code.strip("`").removesuffix("()")
    if name not in links or links[name][0] == page:
        return code
    target, title = links[name]
    return f"[{code}]({target.removeprefix('api/')}#{title.lower()})"


def _entry(member: Object, level: int) -> list[str]:
    """Heading, signature and docstring of a class, function or attribute, and the methods of a class."""
    marks = "#" * level
    title = member.name
    if level > 2 and member.parent:  # of a class: two classes may have methods of the same name
        title = f"`{member.name}` {{#{member.parent.name.lower()}-{member.name.lower()}}}"
    lines = [f"{marks} {title}", ""]
    if isinstance(member, Class):
        lines += _signature(f"class {member.name}", _constructor(member), None)
        lines += _docstring(member, _constructor(member))
        for child in member.members.values():
            if not child.is_alias and _is_public_method(child):
                lines += _entry(child, level + 1)
    elif isinstance(member, Function):
        parameters = Parameters(*[p for p in member.parameters if p.name not in ("self", "cls")])
        lines += _signature(member.name, parameters, member.returns)
        lines += _docstring(member, parameters)
    else:
        lines += _attribute(member) + _docstring(member, None)
    return lines


def _is_public_method(member: Object | Alias) -> bool:
    if member.name.startswith("_") and member.name != "__call__":
        return False
    is_property = isinstance(member, Attribute) and "property" in member.labels
    return bool(member.docstring) and (isinstance(member, Function) or is_property)


def _constructor(member: Class) -> Parameters | None:
    """Parameters of `__init__`, or the fields of a named tuple; None: there are none."""
    if any(str(base).endswith("NamedTuple") for base in member.bases):
        fields = [each for each in member.members.values() if isinstance(each, Attribute) and each.annotation]
        return Parameters(*[Parameter(field.name, annotation=field.annotation) for field in fields])
    try:
        found = [each for each in member.parameters if each.name not in ("self", "cls")]
    except KeyError:
        return None
    return Parameters(*found) if found else None


def _attribute(member: Object) -> list[str]:
    if not isinstance(member, Attribute):
        return []
    if "property" in member.labels:
        return _code(f"{member.name}: {member.annotation}")
    value = str(member.value or "")
    return _code(f"{member.name} = {value}") if len(value) <= 3 * _MAX_SIGNATURE else []


def _signature(name: str, parameters: Parameters | None, returns: object) -> list[str]:
    words = []
    for index, each in enumerate(parameters or []):
        before = list(parameters or [])[index - 1].kind if index else None
        keyword = each.kind is ParameterKind.keyword_only
        if keyword and before not in (ParameterKind.keyword_only, ParameterKind.var_positional):
            words.append("*")
        words.append(_parameter(each))
    end = f" -> {returns}" if returns is not None and str(returns) != "None" else ""
    line = name if parameters is None else f"{name}({', '.join(words)}){end}"
    if len(line) > _MAX_SIGNATURE:
        line = f"{name}(\n" + "".join(f"    {word},\n" for word in words) + f"){end}"
    return _code(line)


def _parameter(each: Parameter) -> str:
    marks = {ParameterKind.var_positional: "*", ParameterKind.var_keyword: "**"}
    stars = marks.get(each.kind, "") if each.kind else ""
    text = stars + each.name + (f": {each.annotation}" if each.annotation is not None else "")
    if each.default is None or stars:
        return text
    return f"{text} = {each.default}" if each.annotation is not None else f"{text}={each.default}"


def _code(text: str) -> list[str]:
    return ["```python", text, "```", ""]


def _docstring(member: Object, parameters: Parameters | None) -> list[str]:
    if member.docstring is None:
        return []
    lines: list[str] = []
    for section in member.docstring.parse(Parser.google, warnings=False):
        if section.kind is DocstringSectionKind.text:
            lines += [_prose(section.value), ""]
        elif section.kind is DocstringSectionKind.parameters:
            lines += _table("argument", [(item.name, _text_of(item)) for item in section.value])
        elif section.kind is DocstringSectionKind.attributes:
            lines += _table("attribute", [(item.name, _text_of(item)) for item in section.value])
        elif section.kind in (DocstringSectionKind.returns, DocstringSectionKind.yields):
            kind = section.kind.value.capitalize()
            lines += [f"**{kind}:** {_prose(_whole_text(member, kind))}", ""]
        elif section.kind is DocstringSectionKind.raises:
            lines += _table("raises", [(str(item.annotation).strip("()"), _text_of(item)) for item in section.value])
    return lines


def _table(title: str, rows: list[tuple[str, str]]) -> list[str]:
    """Names that share a description stand in one row."""
    named = [[", ".join(f"`{name.strip()}`" for name in names.split(",")), literal(text)] for names, text in rows]
    return [table([title, "meaning"], named), ""]


def _text_of(item: object) -> str:
    return " ".join(getattr(item, "description", "").split())


def _whole_text(member: Object, kind: str) -> str:
    """The text below `Returns:` as it is; a parser would take words before a colon for a type."""
    text = member.docstring.value if member.docstring else ""
    match = re.search(rf"^{kind}:\n((?:[ ]{{4}}.*\n?|\n)+)", text, flags=re.MULTILINE)
    return " ".join(match[1].split()) if match else ""


def _prose(text: str) -> str:
    """Text of a docstring as Markdown: indented lines stay code, list items stay a list."""
    blocks = []
    for block in text.strip().split("\n\n"):
        if block.startswith("    ") or "```" in block:
            blocks.append(block)
        else:
            blocks.append(re.sub(r"(?<=\S)\n(?=- )", "\n\n", literal(block), count=1))
    return "\n\n".join(blocks)
