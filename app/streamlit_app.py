"""The dashboard: `streamlit run app/streamlit_app.py`. Keras runs in the worker, never here.

Streamlit finds the server `app` in this file, which runs the same file again as the page's script.
"""

import streamlit as st

from app.dashboard.page import draw
from app.dashboard.server import MIDDLEWARE, workers

if __name__ == "__main__":
    draw()
else:
    app = st.App(__file__, middleware=MIDDLEWARE, lifespan=workers)
