"""A self-contained HTML page: Markdown and pictures in one file, no network needed."""

from __future__ import annotations

import base64
import html
import io
import os
import pathlib
from typing import Any

import markdown

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto;
  padding: 0 1rem; color: #1c2024; background: #fff; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.4rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #d9dde1; text-align: left;
  white-space: nowrap; }
th { background: #f2f4f6; }
code, pre { font: .88em/1.45 ui-monospace, monospace; background: #f2f4f6;
  border-radius: 4px; padding: .1em .3em; }
pre { padding: .8rem; overflow-x: auto; }
figure { display: inline-block; vertical-align: top; max-width: 100%;
  margin: .7rem .7rem .7rem 0; background: #fff; border-radius: 6px; }
figure img { display: block; max-width: 100%; max-height: 45rem; }
figcaption { font-size: .9rem; color: #5a6168; padding: .2rem .4rem; }
@media (prefers-color-scheme: dark) {
  body { color: #e6e8ea; background: #15181b; }
  th, code, pre { background: #23282d; } th, td { border-color: #363c42; }
  figcaption { background: #fff; }
}
"""


class Page:
    """Sections in the order they are added."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: list[str] = []

    def text(self, source: str) -> None:
        """Markdown with tables and fenced code."""
        body = markdown.markdown(source, extensions=["tables", "fenced_code"])
        body = body.replace("<table>", '<div class="wide"><table>')
        self._parts.append(body.replace("</table>", "</table></div>"))

    def figure(self, figure: Any, caption: str) -> None:
        """A matplotlib figure, as SVG within the page; it is closed.

        Args:
            caption: what it shows, which also stands for it where it cannot be seen.
        """
        from matplotlib import pyplot

        stored = io.BytesIO()
        figure.savefig(stored, format="svg", metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
        self._picture(stored.getvalue(), "svg+xml", caption)

    def image(self, path: pathlib.Path, caption: str) -> None:
        """A PNG file, copied into the page."""
        self._picture(path.read_bytes(), "png", caption)

    def _picture(self, data: bytes, kind: str, caption: str) -> None:
        words = html.escape(caption)
        coded = base64.b64encode(data).decode()
        self._parts.append(
            f'<figure><img alt="{words}" src="data:image/{kind};base64,{coded}">'
            f"<figcaption>{words}</figcaption></figure>"
        )

    def write(self, path: pathlib.Path) -> None:
        """Write the page at once, or leave what was there."""
        title = html.escape(self.title)
        body = "\n".join(self._parts)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(
            "<!doctype html>\n"
            f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<style>{_STYLE}</style></head>\n"
            f"<body><h1>{title}</h1>\n{body}\n</body></html>\n",
            encoding="utf-8",
        )
        os.replace(partial, path)
