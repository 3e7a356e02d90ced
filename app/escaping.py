"""What a model calls its layers, made safe to show: names are a stranger's text, never markup."""

import html
import string
import unicodedata

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Controls, and the invisible characters (Cf) that reverse or hide the text around them.
INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def plain_text(text: object, limit: int = 200) -> str:
    """The text on one line, without invisible characters, shortened in its middle."""
    source = str(text)
    if len(source) > limit:
        head = limit // 3
        source = f"{source[:head]}…{source[len(source) - (limit - head - 1) :]}"
    return "".join(REPLACEMENT if unicodedata.category(c) in INVISIBLE else c for c in source)


def html_text(text: object, limit: int = 200) -> str:
    """The same for HTML, and for Plotly, which reads tags in every text that it draws."""
    return html.escape(plain_text(text, limit))


def markdown_text(text: object, limit: int = 400) -> str:
    """The same for Markdown: punctuation as character references, which start no markup."""
    return "".join(
        f"&#{ord(c)};" if c in string.punctuation else c for c in plain_text(text, limit)
    )


def spreadsheet_text(text: str) -> str:
    """A cell that a spreadsheet reads as text: a leading = + - @ would start a formula."""
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA_STARTS) else text
