"""An HTML page as a program reads it: its tables, its texts and its faults."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise

VOID = {"meta", "link", "br", "hr", "img", "input"}
HEADINGS = ("h1", "h2", "h3", "h4")


class Page(HTMLParser):
    """The content of a page, parsed when it is made."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.links: set[str] = set()
        self.outside: list[str] = []
        """Links to something outside the page."""
        self.headings: list[int] = []
        self.alts: list[str] = []
        """The description of every plot."""
        self.drawn: list[str] = []
        """Texts in plots."""
        self.contents: list[str] = []
        """Texts of prompts and answers."""
        self.tables: dict[str, list[list[str]]] = {}
        """Rows of cells, by caption."""
        self.words = ""
        self._rows: list[list[str]] = []
        self._caption = ""
        self._content_depth = 0
        self.feed(text)
        self.close()
        if self.open:
            self.faults.append(f"never closed: {self.open}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags[tag] += 1
        if tag not in VOID:
            self.open.append(tag)
        self._note(tag, given)
        self._begin(tag, given.get("class", ""))

    def _begin(self, tag: str, kind: str) -> None:
        """Make room for the content of this element."""
        if tag in HEADINGS:
            self.headings.append(HEADINGS.index(tag) + 1)
        elif tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
        elif tag == "text":
            self.drawn.append("")
        elif kind == "content":
            self.contents.append("")
            self._content_depth = len(self.open)

    def _note(self, tag: str, given: dict[str, str]) -> None:
        if "id" in given:
            self.ids[given["id"]] += 1
        if tag == "th" and "scope" not in given:
            self.faults.append("a table heading without a scope")
        if tag == "svg":
            self.alts.append(given.get("aria-label", ""))
        for name in ("href", "src", "action", "data", "srcset", "poster"):
            link = given.get(name)
            if link and link.startswith("#"):
                self.links.add(link[1:])
            elif link and link != "data:,":
                self.outside.append(link)
        self.links |= {given[name] for name in ("aria-labelledby",) if name in given}
        self.faults += [f"{tag} has {name}" for name in given if name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        if len(self.open) == self._content_depth:
            self._content_depth = 0
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")
        if tag == "table":
            if not self._caption:
                self.faults.append("a table without a caption")
            self.tables[" ".join(self._caption.split())] = self._rows

    def handle_data(self, data: str) -> None:
        if "style" in self.open or "script" in self.open:
            return
        self.words += data
        if "caption" in self.open:
            self._caption += data
        elif "td" in self.open or "th" in self.open:
            self._rows[-1][-1] += data
        if "text" in self.open:
            self.drawn[-1] += data
        if self._content_depth:
            self.contents[-1] += data

    def table(self, caption: str) -> list[list[str]]:
        """The rows of the one table whose caption holds these words."""
        (rows,) = (rows for name, rows in self.tables.items() if caption in name)
        return [[" ".join(cell.split()) for cell in row] for row in rows]


def faults(page: Page) -> list[str]:
    """What is wrong with the HTML of a page."""
    found = list(page.faults)
    found += [f"id {name} twice" for name, count in page.ids.items() if count > 1]
    found += [f"#{name} leads nowhere" for name in page.links - set(page.ids)]
    found += [f"outside the page: {link}" for link in page.outside]
    found += ["a plot without a description" for alt in page.alts if not alt]
    levels = [0, *page.headings]
    found += [
        f"h{after} under h{before}" for before, after in pairwise(levels) if after > before + 1
    ]
    return found
