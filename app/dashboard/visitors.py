"""Who looks at the page: the same browser is the same visitor, in whichever tab."""

import hashlib
import ipaddress
import os
import secrets
from collections.abc import Mapping

import streamlit as st
from streamlit.web.server.starlette.starlette_app_utils import decode_xsrf_token_string

from app.text.escaping import markdown_text

PROXY_VARIABLE = "AUTOINIT_BEHIND_PROXY"
RUNS_KEPT = 12
XSRF_COOKIE = "_streamlit_xsrf"
GONE_ON = "gone_on"  # of the session: the visitor has just gone to another page


def visitor() -> str:
    """Identifies the browser by the random token of Streamlit's own cookie; else this page alone.

    The token guards uploads against other sites, so it is a browser's own and hard to guess.
    """
    token, _ = decode_xsrf_token_string(st.context.cookies.get(XSRF_COOKIE, ""))
    if token is not None:
        return hashlib.sha256(token).hexdigest()
    own: str = st.session_state.setdefault("visitor", secrets.token_hex(32))
    return own


def address() -> str | None:
    """The network address that the visitor comes from; None for this machine."""
    return address_of(st.context.ip_address, st.context.headers)


def address_of(peer: str | None, headers: Mapping[str, str]) -> str | None:
    """The network address that a request comes from; None where there is none.

    Behind a proxy (`AUTOINIT_BEHIND_PROXY`) it is what the proxy says, which anyone else could say,
    too. Whoever has an address of IPv6 has 2^64 of them: these are one.

    Args:
        peer: who is at the other end of the connection.
        headers: of the request.
    """
    if os.environ.get(PROXY_VARIABLE):
        peer = headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
    try:
        given = ipaddress.ip_address(peer or "")
    except ValueError:
        return None
    return (
        str(ipaddress.ip_network((given, 64), strict=False)) if given.version == 6 else str(given)
    )


@st.cache_resource(max_entries=1000, show_spinner=False)
def runs_of(owner: str) -> dict[str, str]:
    """A visitor's runs, the latest last: job keys with names. They last as long as the server."""
    return {}


def remember(key: str, name: str) -> None:
    """Counts a run among the visitor's latest; a name that they gave it stays."""
    runs = runs_of(visitor())
    runs[key] = runs.pop(key, name)
    for old in list(runs)[:-RUNS_KEPT]:
        del runs[old]


def show_runs(shown: str | None) -> None:
    """The visitor's latest runs, each a click away; the one on the page can be renamed."""
    runs = runs_of(visitor())
    if not runs:
        return
    with st.expander("Recent runs", icon=":material/history:"):
        if shown in runs:
            runs[shown] = (
                st.text_input("Name of this run", runs[shown], max_chars=80, key=f"name-{shown}")
                or runs[shown]
            )
        for key, name in reversed(list(runs.items())):
            if key != shown and st.button(
                markdown_text(name, 60), key=f"run-{key}", type="tertiary", width="stretch"
            ):
                st.query_params["job"] = key
                st.session_state[GONE_ON] = True
                st.rerun()
