#!/usr/bin/env bash
# Sees to it that there is a browser for the tests in this folder: one that is installed already,
# else Debian's, else Playwright's own. Fails with the reason if there is none to be had.
set -euo pipefail
cd "$(dirname "$0")/../.."

for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then
        echo "Browser for the tests: $(command -v "$name")"
        exit 0
    fi
done

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "Installing Debian's chromium for the browser tests."
    if apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; then
        exit 0
    fi
    echo "apt-get could not install chromium; trying Playwright's." >&2
fi

echo "Installing Playwright's Chromium for the browser tests."
if ! .venv/bin/playwright install chromium; then
    echo "The browser tests need a browser, and none could be installed: there is no chromium," \
        "chromium-browser or google-chrome on the PATH, apt-get is missing, failed or not allowed" \
        "without root, and 'playwright install chromium' failed (its message is above)." \
        "Install Chromium by hand, then try again." >&2
    exit 1
fi
