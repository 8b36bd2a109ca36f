"""An extension of mkdocstrings that reads docstrings and imports as we write them."""

import ast
import re
import textwrap
from typing import Any

import griffe

LITERAL = re.compile(
    r"::\n\n(?P<block>(?P<indent> *) {2,}\S.*(?:\n(?: *|(?P=indent) {2,}.*))*)(?=\n|$)"
)
# Arguments that are described together, "x, y: as in `fit`."
SEVERAL = re.compile(
    r"^(?P<indent> +)(?P<names>[a-z]\w*(?:, [a-z]\w*)+):(?P<text> .+)$", re.MULTILINE
)


class Docstrings(griffe.Extension):
    """Makes formulas code blocks, examples sections, and `import x as x` public."""

    def on_module_members(
        self, *, node: ast.AST | griffe.ObjectNode, mod: griffe.Module, **_: Any
    ) -> None:
        """Makes names public that a module imports as themselves, `import x as x`."""
        if mod.exports is None and isinstance(node, ast.Module):
            names = [
                alias.name
                for statement in node.body
                if isinstance(statement, ast.ImportFrom)
                for alias in statement.names
                if alias.asname == alias.name
            ]
            mod.exports = names or None

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrites the docstring of an object before it is parsed."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(docstring: str) -> str:
    """Returns a docstring whose literal blocks are fenced and examples are sections."""

    def fenced(match: re.Match) -> str:
        block = textwrap.dedent(match["block"].rstrip())
        block = f"```text\n{block}\n```"
        return ":\n\n" + textwrap.indent(block, match["indent"]) + "\n"

    def one_each(match: re.Match) -> str:
        names = match["names"].split(", ")
        return "\n".join(f"{match['indent']}{name}:{match['text']}" for name in names)

    text = SEVERAL.sub(one_each, LITERAL.sub(fenced, docstring))
    return re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
