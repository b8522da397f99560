"""Looks at pages of the console: whether they fit, and can be used by all."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Page, expect

from tests.support.node import CLIENTS

Scheme = Literal["light", "dark"]
#: Opens a page of a site, for somebody.
OpenAt = Callable[..., Page]


def is_fit(page: Page, picture: Path, width: int, problems: list[str]) -> None:
    """Take a picture of a page as it will be; nothing is cut off, and axe finds nothing serious."""
    settled(page)
    page.screenshot(path=picture)
    assert page.evaluate("document.documentElement.scrollWidth") <= width, picture
    assert problems == [], page.url
    assert serious(page) == [], page.url
    # Axe may add styles of its own, which the page's policy refuses.
    problems.clear()


def settled(page: Page) -> None:
    """The page is as it will be: fonts, scripts, and what it says of a run."""
    page.evaluate("document.fonts.ready")
    if page.locator("#talk").count():
        expect(page.locator("#link")).to_have_text("")
        expect(page.locator("#talk li").first).to_be_visible()


def serious(page: Page) -> Sequence[Any]:
    """What axe finds wrong, with where."""
    # The page's policy keeps scripts of elsewhere out; the debugger may add one.
    page.evaluate((CLIENTS / "node_modules/axe-core/axe.min.js").read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        (each["id"], [node["html"][:160] for node in each["nodes"]][:3])
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]
