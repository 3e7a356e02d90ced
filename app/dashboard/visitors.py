"""Who looks at the page: the same browser is the same visitor, in whichever tab."""

import hashlib
import secrets

import streamlit as st
from streamlit.web.server.starlette.starlette_app_utils import decode_xsrf_token_string

XSRF_COOKIE = "_streamlit_xsrf"


def visitor() -> str:
    """Identifies the browser by the random token of Streamlit's own cookie; else this page alone.

    The token guards uploads against other sites, so it is a browser's own and hard to guess.
    """
    token, _ = decode_xsrf_token_string(st.context.cookies.get(XSRF_COOKIE, ""))
    if token is not None:
        return hashlib.sha256(token).hexdigest()
    own: str = st.session_state.setdefault("visitor", secrets.token_hex(32))
    return own
