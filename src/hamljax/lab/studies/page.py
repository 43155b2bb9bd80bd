"""A page of HTML that needs no other file and no network; whatever is put into it is text."""

import html
from collections.abc import Iterable, Sequence

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2129; max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #d8dbe0; }
img { max-width: 100%; height: auto; display: block; margin: .5rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; margin: .5rem 0; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #e4e6ea; vertical-align: top; }
th { background: #f4f5f7; } th, td { white-space: nowrap; } td { font-variant-numeric: tabular-nums; }
.answer { border-left: 4px solid #35609c; background: #f1f5fa; padding: .6rem 1rem; }
.note { color: #5c626c; font-size: .9rem; }
pre { background: #f4f5f7; padding: .6rem; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .82rem; }
summary { cursor: pointer; }
"""


class Page:
    """Parts of a page, one below the other.

    Args:
        title: its heading.
    """

    def __init__(self, title: str):
        self.title = title
        self.parts: list[str] = []

    def heading(self, text: str) -> None:
        self.parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str, kind: str = "") -> None:
        """A paragraph; ``kind``: ``answer`` or ``note``."""
        name = f' class="{html.escape(kind)}"' if kind else ""
        self.parts.append(f"<p{name}>{html.escape(text)}</p>")

    def picture(self, data: str, says: str) -> None:
        """A picture (``data:``), and what it shows, for who cannot see it."""
        self.parts.append(f'<img src="{html.escape(data)}" alt="{html.escape(says)}">')

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
        self.parts.append(f'<div class="wide"><table><tr>{head}</tr>\n{body}</table></div>')

    def code(self, lines: Iterable[str]) -> None:
        body = html.escape("\n".join(lines))
        self.parts.append(f"<pre>{body}</pre>")

    def folded(self, summary: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table that is shown when it is asked for."""
        self.parts.append(f"<details><summary>{html.escape(summary)}</summary>")
        self.table(columns, rows)
        self.parts.append("</details>")

    def __str__(self) -> str:
        title, body = html.escape(self.title), "\n".join(self.parts)
        head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        head += f"<title>{title}</title><style>{STYLE}</style>"
        page = f'<html lang="en"><head>{head}</head>\n<body>\n<h1>{title}</h1>\n{body}\n</body></html>'
        return f"<!doctype html>\n{page}\n"
