#!/bin/sh
# Install the Debian packages named as arguments where they are missing. Without root or apt, say what is missing.
# A package whose program is already here from elsewhere counts as installed.
missing=""
for package in "$@"; do
    case "$package" in
        chromium) command -v chromium >/dev/null && continue ;;
        nodejs) command -v node >/dev/null && continue ;;
        npm) command -v npm >/dev/null && continue ;;
    esac
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed, and no root to install it:$missing (tests that need it are skipped)"
    exit 1
fi
echo "installing system packages:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing >/dev/null
