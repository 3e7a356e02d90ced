"""What MkDocs does with these pages: those of other folders join them, other links are words."""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# Pages of the repository that lie elsewhere, by their names on the site.
ELSEWHERE = {
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "benchmarks.md": "benchmarks/README.md",
}
LINK = re.compile(r"\[([^\[\]]*)\]\(([^)#:\s]+)(#[^)]*)?\)")
KEPT = (".md", ".png")


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Joins the pages that lie elsewhere."""
    for name, path in ELSEWHERE.items():
        files.append(File.generated(config, name, content=(ROOT / path).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Links as they are from the site's one folder; one to a file that is no page is a word."""
    home = Path(ELSEWHERE.get(page.file.src_uri, f"docs/{page.file.src_uri}")).parent
    names = {f"docs/{file.src_uri}": file.src_uri for file in files}
    names |= {path: name for name, path in ELSEWHERE.items()}

    def linked(found: re.Match[str]) -> str:
        text, target, anchor = found.groups()
        path = (ROOT / home / target).resolve()
        name = names.get(str(path.relative_to(ROOT))) if path.is_relative_to(ROOT) else None
        return f"[{text}]({name}{anchor or ''})" if name and name.endswith(KEPT) else text

    return LINK.sub(linked, markdown)
