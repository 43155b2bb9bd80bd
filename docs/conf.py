"""How ``make docs`` makes a site of the pages (Markdown, by markdown-it) and the reference (docstrings, by autodoc).

A page that is one line, ``<!-- include: FILE -->``, is that file. A link that leads nowhere ends the build.
"""

import re
from pathlib import Path

from docutils import nodes
from markdown_it import MarkdownIt
from sphinx.errors import ExtensionError
from sphinx.parsers import Parser

project, html_title, root_doc = "hamljax", "hamljax", "contents"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_site"]
html_theme, html_show_sourcelink, html_copy_source = "alabaster", False, False
html_theme_options = {"description": "Heterogeneous-Agent Mirror Learning in JAX", "page_width": "1100px"}
autodoc_member_order, autodoc_typehints = "bysource", "description"
templates_path = []

HERE = Path(__file__).parent
ROOT = HERE.parent
PAGES = {
    "README.md": "index",
    "ARCHITECTURE.md": "architecture",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changes",
}
PICTURES: set[Path] = set()  # that pages show
PAGES |= {f"docs/{page.name}": page.stem for page in HERE.glob("*.md")}


def anchor(title: str) -> str:
    """Of a heading, as code hosts have it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


class Markdown(Parser):
    """Sections and titles for Sphinx; what is between them as HTML."""

    supported = ("markdown",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        file = Path(document["source"])
        if found := re.fullmatch(r"<!-- include: (\S+) -->\s*", inputstring):
            file = (file.parent / found[1]).resolve()
            inputstring = file.read_text(encoding="utf-8")
        reader = MarkdownIt("commonmark").enable("table")
        tokens, parents, between = reader.parse(inputstring), [(0, document)], []

        def flush() -> None:
            if between:
                html = reader.renderer.render(between, reader.options, {})
                parents[-1][1].append(nodes.raw("", html, format="html"))
                between.clear()

        skip = 0
        for place, token in enumerate(tokens):
            if skip:
                skip -= 1
                continue
            if token.type != "heading_open":
                self._lead(file, token)
                between.append(token)
                continue
            flush()
            title, level, skip = tokens[place + 1].content, int(token.tag[1]), 2
            while parents[-1][0] >= level:
                parents.pop()
            section = nodes.section(ids=[anchor(title)], names=[nodes.fully_normalize_name(title)])
            section.append(nodes.title("", re.sub(r"[`*]", "", title)))
            parents[-1][1].append(section)
            parents.append((level, section))
        flush()

    def _lead(self, file: Path, token) -> None:
        """Links from file to file become links from page to page; pictures come along."""
        for child in token.children or []:
            name = {"link_open": "href", "image": "src"}.get(child.type)
            if name is None or (link := str(child.attrs[name])).startswith(("http:", "https:", "#")):
                continue
            path, _, place = link.partition("#")
            target = (file.parent / path).resolve()
            if not target.exists():
                raise ExtensionError(f"{file}: the link to {link} leads nowhere")
            known = str(target.relative_to(ROOT))
            if child.type == "image":
                child.attrs[name] = f"_pictures/{target.name}"
                PICTURES.add(target)
            elif known in PAGES:
                child.attrs[name] = f"{PAGES[known]}.html" + (f"#{place}" if place else "")
            elif known.startswith("examples"):
                child.attrs[name] = f"examples.html#{target.stem}".removesuffix("#examples").replace("_", "-")
            else:  # a file of the sources, which stands in none of the pages
                child.attrs[name] = f"files.html#{known}"


def copy_pictures(app, error) -> None:
    """After the pages are written."""
    folder = Path(app.outdir) / "_pictures"
    folder.mkdir(exist_ok=True)
    for picture in PICTURES if error is None else ():
        (folder / picture.name).write_bytes(picture.read_bytes())


def setup(app) -> None:
    app.add_source_suffix(".md", "markdown")
    app.add_source_parser(Markdown)
    app.connect("build-finished", copy_pictures)
