"""Hooks of MkDocs: where pages lie, the page of examples, what the reference lacks."""

import ast
import importlib
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
    """Adds the page of examples, which is made from their sources."""
    files.append(File.generated(config, "examples.md", content=gallery()))
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
    for name, value in public.items():
        if hasattr(value, "__all__"):
            names |= {f"tfp_flows.{name}.{part}" for part in value.__all__}
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
    if folder == "examples":
        return f"]({up}examples.md#{name.partition('.')[0]})"
    if target == "examples":
        return f"]({up}examples.md)"
    if target == "README.md":
        return f"]({up}index.md)"
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
