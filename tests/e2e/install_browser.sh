#!/usr/bin/env bash
# Sees to it that there is a browser for the tests in this folder: one that is installed already,
# else Debian's, else Playwright's own. Fails with the reason if there is none to be had. Gets
# axe-core, too, which checks that the page is accessible; without it those tests are skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."

AXE_VERSION=4.10.3
# sha256 of axe.min.js of that version
AXE_DIGEST=880970c081707360e64f34cea25ff91892f5bc95675b0776925b9709dd8a68bb

get_axe() {
    local cache=tests/e2e/.cache
    if [ -f "$cache/axe.min.js" ]; then
        return 0
    fi
    local new
    new=$(mktemp -d)
    if command -v npm >/dev/null \
        && (cd "$new" && npm pack --silent "axe-core@$AXE_VERSION" >/dev/null) \
        && tar -xzf "$new/axe-core-$AXE_VERSION.tgz" -C "$new" package/axe.min.js \
        && echo "$AXE_DIGEST  $new/package/axe.min.js" | sha256sum --check --quiet; then
        mkdir -p "$cache"
        mv "$new/package/axe.min.js" "$cache/axe.min.js"
        echo "axe-core $AXE_VERSION for the tests: $cache/axe.min.js"
    else
        echo "axe-core $AXE_VERSION cannot be had: npm is missing, its registry cannot be reached," \
            "or what it sent is not that version. THE TESTS OF ACCESSIBILITY WILL BE SKIPPED." >&2
    fi
    rm -rf "$new"
}

get_browser() {
    for name in chromium chromium-browser google-chrome; do
        if command -v "$name" >/dev/null; then
            echo "Browser for the tests: $(command -v "$name")"
            return 0
        fi
    done

    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        echo "Installing Debian's chromium for the browser tests."
        if apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; then
            return 0
        fi
        echo "apt-get could not install chromium; trying Playwright's." >&2
    fi

    echo "Installing Playwright's Chromium for the browser tests."
    if ! .venv/bin/playwright install chromium; then
        echo "The browser tests need a browser, and none could be installed: there is no chromium," \
            "chromium-browser or google-chrome on the PATH, apt-get is missing, failed or not" \
            "allowed without root, and 'playwright install chromium' failed (its message is above)." \
            "Install Chromium by hand, then try again." >&2
        return 1
    fi
}

get_axe
get_browser
