"""What a model calls its layers, made safe to show: names are a stranger's text, never markup."""

import html
import re
import string
import unicodedata

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Controls, and the invisible characters (Cf) that reverse or hide the text around them.
INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
FORMULA_STARTS = tuple("=+-@＝＋－＠\t\r\n")
# Where Markdown would make a link of a bare address, whatever stands between its letters escaped.
ADDRESSES = re.compile(r"(?<=https:)(?=//)|(?<=http:)(?=//)|(?<=www)(?=\.)|(?=@)", re.IGNORECASE)
WORD_JOINER = "\N{WORD JOINER}"  # seen by programs only


def plain_text(text: object, limit: int = 200) -> str:
    """The text on one line, without invisible characters, shortened in its middle."""
    source = str(text)
    if len(source) > limit:
        head = limit // 3
        source = f"{source[:head]}…{source[len(source) - (limit - head - 1) :]}"
    return visible(source)


def visible(text: str) -> str:
    """The text on one line, without invisible characters, in full."""
    if text.isprintable():  # nearly every text, and nothing invisible is
        return text
    return "".join(REPLACEMENT if unicodedata.category(c) in INVISIBLE else c for c in text)


def html_text(text: object, limit: int = 200) -> str:
    """The same for HTML, and for Plotly, which reads tags in every text that it draws."""
    return html.escape(plain_text(text, limit))


def markdown_text(text: object, limit: int = 400) -> str:
    """The same for Markdown: punctuation as character references, which start no markup."""
    apart = ADDRESSES.sub(WORD_JOINER, plain_text(text, limit))
    return "".join(f"&#{ord(c)};" if c in string.punctuation else c for c in apart)


def spreadsheet_text(text: str) -> str:
    """A cell that a spreadsheet reads as text: a leading = + - @ would start a formula."""
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA_STARTS) else text
