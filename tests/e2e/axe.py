"""What axe-core says of a page: the rules of WCAG 2, levels A and AA."""

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

# Got by install_browser.sh, and not ours to commit.
SCRIPT = Path(__file__).parent / ".cache" / "axe.min.js"
MISSING = (
    f"axe-core is not at {SCRIPT}: `bash tests/e2e/install_browser.sh` gets it from the npm "
    "registry. NOTHING WAS CHECKED."
)
LOOKS = 5
RUN = """async () => {
    const found = await axe.run(document, {
        runOnly: {type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']},
        resultTypes: ['violations'],
    });
    return found.violations.flatMap(rule => rule.nodes
        .map(node => ({rule: rule.id, html: node.html.slice(0, 160), why: node.failureSummary})));
}"""


def violations(page: Page) -> list[dict[str, Any]]:
    """What is wrong with the page, and stays so: what is fading in or out is pale for a while."""
    # Not by a script element: the page's own headers would rightly keep that from running.
    page.evaluate(SCRIPT.read_text(encoding="utf-8") + "; null")
    for _ in range(LOOKS - 1):
        if not (found := page.evaluate(RUN)):
            return found
        page.wait_for_timeout(1000)
    return page.evaluate(RUN)
