"""Turns the README, the pages and the examples into HTML.

Run: python -m docs.build [--out site]; it needs the extra `docs`.
"""

import argparse
import ast
import html
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import markdown
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EXTENSIONS = ["fenced_code", "tables", "toc", "codehilite"]

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="style.css">
</head>
<body>
<nav aria-label="Pages">
<ul>
{links}
</ul>
</nav>
<main>
{content}
</main>
</body>
</html>
"""


def pages() -> dict[str, Path]:
    """Returns the page of each source: README, docs/ as it names them, the others."""
    readme = ROOT / "README.md"
    named = re.findall(r"\(docs/(\w+)\.md\)", readme.read_text(encoding="utf-8"))
    names = [*named, *sorted(path.stem for path in DOCS.glob("*.md"))]
    return {
        "index.html": readme,
        **{f"{name}.html": DOCS / f"{name}.md" for name in names},
    }


def title_of(text: str) -> str:
    """Returns the first heading of a page."""
    return re.search(r"^# (.+)$", text, re.MULTILINE)[1].replace("`", "")


def to_html(text: str) -> str:
    """Returns a page of Markdown as HTML, whose links lead within the site."""
    content = markdown.markdown(
        text, extensions=EXTENSIONS, extension_configs={"toc": {"permalink": False}}
    )
    return re.sub(r'(href|src)="([^"]+)"', lambda m: f'{m[1]}="{moved(m[2])}"', content)


def moved(target: str) -> str:
    """Returns where a link of the repository leads in the site."""
    if "://" in target or target.startswith("#"):
        return target
    path, _, part = target.partition("#")
    name = Path(path).name
    if path.endswith(".md"):
        path = "index.html" if name == "README.md" else f"{Path(path).stem}.html"
    elif path.endswith(".py"):
        path, part = "gallery.html", Path(path).stem
    elif name == "examples":
        path = "gallery.html"
    elif "figures/" in path:
        path = f"figures/{name}"
    return f"{path}#{part}" if part else path


def examples() -> list[Path]:
    """Returns the examples: first as the README names them, then the others."""
    folder = ROOT / "examples"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"\(examples/(\w+)\.py\)", readme.partition("## Read on")[2])
    names = [*named, *sorted(path.stem for path in folder.glob("*.py"))]
    return [folder / f"{name}.py" for name in dict.fromkeys(names)]


def gallery() -> str:
    """Returns the examples: what each shows, its pictures and its source."""
    parts = ["<h1>Examples</h1>"]
    for path in examples():
        source = path.read_text(encoding="utf-8")
        told = ast.get_docstring(ast.parse(source))
        first, *rest = told.split("\n\n")
        title = html.escape(first.removesuffix("."))
        parts.append(f'<h2 id="{path.stem}">{title}</h2>')
        parts += map(to_html, rest)
        for name in re.findall(r"(\w+)\.png", told):  # that it says it writes
            figure = DOCS / "figures" / f"{path.stem}_{name}.png"
            if figure.exists():
                alt = html.escape(f"{first} {name}")
                parts.append(f'<p><img src="figures/{figure.name}" alt="{alt}"></p>')
        code = highlight(source, PythonLexer(), HtmlFormatter(cssclass="codehilite"))
        parts.append(f"<details><summary>{path.name}</summary>{code}</details>")
    return "\n".join(parts)


def rendered() -> Iterator[tuple[str, str, str]]:
    """Yields name, title and content of every page."""
    for name, path in pages().items():
        text = path.read_text(encoding="utf-8")
        yield name, title_of(text), to_html(text)
    yield "gallery.html", "Examples", gallery()


def build(folder: Path) -> None:
    """Writes the site into a folder, over what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    site = list(rendered())
    for name, title, content in site:
        links = "\n".join(
            f'<li><a href="{other}"'
            + (' aria-current="page"' if other == name else "")
            + f">{html.escape(label)}</a></li>"
            for other, label, _ in site
        )
        page = PAGE.format(title=html.escape(title), links=links, content=content)
        (folder / name).write_text(page, encoding="utf-8")
    light = HtmlFormatter(style="default").get_style_defs(".codehilite")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".codehilite")
    style = (DOCS / "style.css").read_text(encoding="utf-8")
    style += f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"
    style += ".codehilite { background: var(--card) !important; }\n"
    (folder / "style.css").write_text(style, encoding="utf-8")
    shutil.copytree(DOCS / "figures", folder / "figures", dirs_exist_ok=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("site"))
    build(parser.parse_args().out)
