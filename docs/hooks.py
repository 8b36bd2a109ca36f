"""Hooks of MkDocs: pages made of the examples, links, what the reference lacks."""

import ast
import importlib
import inspect
import json
import logging
import posixpath
import re
import warnings
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocstrings import Inventory

DOCS = Path(__file__).parent
EXAMPLES = DOCS.parent / "examples"
LOG = logging.getLogger("mkdocs.hooks.reference")
LINK = re.compile(r"\]\((?P<target>[^)\s:#]+)(?P<part>#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Takes the pages from the folder of the configuration.

    MkDocs refuses that folder as a setting, for it would publish the configuration
    with the pages; `exclude_docs` sees to that.
    """
    config.docs_dir = str(DOCS)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made of the examples: one of all scripts, notebooks."""
    files.append(File.generated(config, "examples.md", content=gallery()))
    for path in EXAMPLES.glob("*.ipynb"):
        content = notebook(path)
        files.append(File.generated(config, f"{path.stem}.md", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Leads links to files outside of docs/ to where the site has them."""
    return LINK.sub(lambda link: moved(link, page.file.src_uri), markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Warns, which fails a strict build, of public names that the site lacks."""
    if config.strict:
        with open(Path(config.site_dir) / "objects.inv", "rb") as file:
            found = Inventory.parse_sphinx(file)
        for name in sorted(public_names() - set(found)):
            LOG.warning("The API reference lacks %s.", name)


def public_names() -> set[str]:
    """Returns the public names as the reference has them, of modules and of classes."""
    names = set()
    with warnings.catch_warnings(action="ignore"):  # of TFP, at its import
        package = importlib.import_module("tfp_flows")
        public = {name: getattr(package, name) for name in package.__all__}
    public["bijectors.elementwise"] = public["bijectors"].elementwise
    for name, value in public.items():
        if inspect.ismodule(value):
            parts = getattr(value, "__all__", None) or [
                part for part, _ in inspect.getmembers(value, inspect.isclass)
            ]
            names |= {
                f"tfp_flows.{name}.{part}"
                for part in parts
                if not inspect.ismodule(getattr(value, part))
            }
        else:
            names.add(f"tfp_flows.{name}")
    return names


def moved(link: re.Match, source: str) -> str:
    """Returns a link as it leads within the site."""
    target = posixpath.normpath(
        posixpath.join("docs", posixpath.dirname(source), link["target"])
    )
    folder, name = posixpath.split(target)
    up = "../" * source.count("/")
    stem, _, ending = name.partition(".")
    if folder == "examples":
        page = f"{stem}.md" if ending == "ipynb" else f"examples.md#{stem}"
        return f"]({up}{page})"
    if target == "examples":
        return f"]({up}examples.md)"
    if target == "README.md":
        return f"]({up}index.md)"
    if target.startswith("docs/"):
        return f"]({up}{target.removeprefix('docs/')}{link['part'] or ''})"
    return link[0]


def examples() -> list[Path]:
    """Returns the scripts, first those that the README names, in its order."""
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"\(examples/(\w+)\.py\)", readme.partition("## Read on")[2])
    names = [*named, *sorted(path.stem for path in EXAMPLES.glob("*.py"))]
    return [EXAMPLES / f"{name}.py" for name in dict.fromkeys(names)]


def gallery() -> str:
    """Returns the page of examples: what each shows, its pictures and its source."""
    parts = ["# Examples"]
    for path in examples():
        source = path.read_text(encoding="utf-8")
        title, *paragraphs = ast.get_docstring(ast.parse(source)).split("\n\n")
        title = title.removesuffix(".").replace("\n", " ")
        parts.append(f"## {title} {{ #{path.stem} }}")
        parts += [
            re.sub(r"^Run: (.+)$", r"```bash\n\1\n```", paragraph)
            for paragraph in paragraphs
        ]
        for picture in sorted((DOCS / "figures").glob(f"{path.stem}_*.png")):
            parts.append(f"![{title}](figures/{picture.name})")
        code = f"```python\n{source.rstrip()}\n```".replace("\n", "\n    ")
        parts.append(f'??? "{path.name}"\n\n    {code}')
    return "\n\n".join(parts) + "\n"


def notebook(path: Path) -> str:
    """Returns a notebook as a page, with its outputs as they were stored."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        else:
            parts.append(f"```python\n{source}\n```")
            parts += map(shown, cell["outputs"])
    return "\n\n".join(parts) + "\n"


def shown(output: dict) -> str:
    """Returns one output of a notebook: its richest form that a page can show."""
    data = {key: "".join(value) for key, value in output.get("data", {}).items()}
    if "text/html" in data:
        return data["text/html"]
    if "image/png" in data:
        image = data["image/png"].replace("\n", "")
        return f'<img alt="Output of this cell" src="data:image/png;base64,{image}">'
    text = data.get("text/plain") or "".join(output.get("text", ""))
    return f"```text\n{text.rstrip()}\n```"
