#!/bin/sh
# Installs what tests/test_demo_page.py drives: Chromium and its driver, from the packages of Debian or Ubuntu.
# The tests need no Python package for it. Run as root: sh tools/install_browser.sh
set -eu
if ! command -v apt-get >/dev/null; then
  echo "This script needs apt-get. Elsewhere, put chromium and chromedriver of one version on the PATH." >&2
  exit 1
fi
apt-get update
apt-get install --yes --no-install-recommends chromium chromium-driver
