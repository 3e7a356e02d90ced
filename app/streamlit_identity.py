"""Charts that answer to clicks keep their zoom.

Streamlit takes a chart with `on_select` for another one whenever its figure changes, and draws it
anew: whatever a visitor has zoomed into is lost with each choice on the page. With its key as its
identity, as other elements have it, Plotly's `uirevision` keeps the zoom.
"""

from typing import Any

from streamlit.elements import plotly_chart as element

_NAME = "compute_and_register_element_id"


def keep_charts() -> None:
    """Has charts with a key known by it; nothing where Streamlit's own code is another."""
    identify = getattr(element, _NAME, None)
    if identify is None or getattr(identify, "keeps_charts", False):
        return

    def by_key(kind: str, **what: Any) -> Any:
        if what.get("user_key") and "key_as_main_identity" in what:
            what["key_as_main_identity"] = True
        return identify(kind, **what)

    by_key.keeps_charts = True  # type: ignore[attr-defined]
    setattr(element, _NAME, by_key)
