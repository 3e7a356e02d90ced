"""`python -m app.analysis.diagnosis.documentation`: writes `docs/findings.md` from the table."""

from __future__ import annotations

from pathlib import Path

from app.analysis.diagnosis.table import FAMILIES

PAGE = Path(__file__).parents[3] / "docs" / "findings.md"
_OPENING = """# Findings

What an analysis says about a model, by code. A **problem** and a **hint** are in sight on the page
and in the report, a **note** and a **fact** are folded away; hints and facts say that nothing is
wrong. This page is written from the table in `app/analysis/diagnosis/` by
`python -m app.analysis.diagnosis.documentation`.
"""


def page() -> str:
    """The page in Markdown."""
    parts = [_OPENING]
    for family in FAMILIES:
        parts.append(f"## {(family.__doc__ or '').strip().rstrip('.')}\n")
        parts += [
            f"### {kind.code}\n\n**{kind.title}** ({kind.severity}). {kind.cause}\n\n"
            f"*What to do:* {kind.remedy}\n"
            for kind in family.KINDS
        ]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
