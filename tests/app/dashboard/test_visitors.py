"""One browser is one visitor, whatever its cookie looks like this time."""

from types import SimpleNamespace

import pytest
from streamlit.web.server.starlette.starlette_app_utils import generate_xsrf_token_string

from app.dashboard import visitors
from app.dashboard.visitors import XSRF_COOKIE, visitor


@pytest.fixture
def cookies(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    cookies: dict[str, str] = {}
    context = SimpleNamespace(cookies=cookies)
    monkeypatch.setattr(visitors, "st", SimpleNamespace(context=context, session_state={}))
    return cookies


def test_the_token_counts_and_not_its_mask(cookies: dict[str, str]) -> None:
    seen = []
    for token in (b"a" * 16, b"a" * 16, b"b" * 16):
        cookies[XSRF_COOKIE] = generate_xsrf_token_string(token, 0)
        seen.append((cookies[XSRF_COOKIE], visitor()))
    assert seen[0][0] != seen[1][0]
    assert seen[0][1] == seen[1][1] != seen[2][1]
    assert (b"a" * 16).hex() not in seen[0][1], "the token itself is nobody's business"


@pytest.mark.parametrize("cookie", [None, "", "2|zz|zz|0", "nonsense"])
def test_without_a_cookie_the_page_is_the_visitor(
    cookies: dict[str, str], cookie: str | None
) -> None:
    if cookie is not None:
        cookies[XSRF_COOKIE] = cookie
    assert visitor() == visitor()
    assert len(visitor()) == 64


@pytest.mark.parametrize(
    ("behind_proxy", "address", "forwarded", "found"),
    [
        ("", None, "", None),
        ("", "203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("1", "10.0.0.2", "198.51.100.1", "198.51.100.1"),
        ("1", "10.0.0.2", "made up, 198.51.100.1", "198.51.100.1"),
        ("1", "10.0.0.2", "", None),
        ("", "2001:db8::1:2:3:4", "", "2001:db8::/64"),
    ],
)
def test_the_address_is_the_proxys_word_where_there_is_one(
    monkeypatch, behind_proxy, address, forwarded, found
):
    monkeypatch.setenv(visitors.PROXY_VARIABLE, behind_proxy)
    context = SimpleNamespace(ip_address=address, headers={"X-Forwarded-For": forwarded})
    monkeypatch.setattr(visitors, "st", SimpleNamespace(context=context))
    assert visitors.address() == found
