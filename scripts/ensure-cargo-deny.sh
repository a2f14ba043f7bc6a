#!/bin/sh
# Finds cargo-deny, or builds it into target/tools (two to five minutes, once). Prints its path; everything
# else goes to standard error. Fails when it can neither be found nor built.
set -eu

cd "$(dirname "$0")/.."
version=0.20.2
root=${CARGO_TARGET_DIR:-target}/tools

if found=$(command -v cargo-deny 2>/dev/null); then
    echo "$found"
elif [ -x "$root/bin/cargo-deny" ]; then
    echo "$root/bin/cargo-deny"
elif cargo install cargo-deny --locked --version "$version" --root "$root" >&2; then
    echo "$root/bin/cargo-deny"
else
    echo "cargo-deny cannot be built; install it by hand: cargo install cargo-deny --locked --version $version" >&2
    exit 1
fi
