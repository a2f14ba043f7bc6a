#!/bin/sh
# Checks the systemd unit and its drop-ins without running them: syntax, and exposure of at most 1.2 of 10.
# Needs systemd-analyze 252 or later; a machine without it cannot check the unit, which is a failure.
set -eu

cd "$(dirname "$0")/.."
threshold=12 # tenths; the unit scores 1.1 with systemd 252

if ! command -v systemd-analyze >/dev/null 2>&1; then
    echo "systemd-analyze is not installed, so the unit cannot be checked: install the package systemd (252 or later)" >&2
    exit 1
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT INT TERM

# The program is not installed where checks run: any other one stands in for it.
sed 's|^ExecStart=/usr/bin/nauthilus-neural .*|ExecStart=/bin/true|' systemd/nauthilus-neural.service \
    >"$scratch/nauthilus-neural.service"
systemd-analyze verify --man=no "$scratch/nauthilus-neural.service"

systemd-analyze security --offline=true --threshold="$threshold" "$scratch/nauthilus-neural.service" | tail -n 1
mkdir "$scratch/nauthilus-neural.service.d"
for drop_in in systemd/drop-ins/*.conf.example; do
    cp "$drop_in" "$scratch/nauthilus-neural.service.d/drop-in.conf"
    echo "with $drop_in:"
    systemd-analyze verify --man=no "$scratch/nauthilus-neural.service"
    systemd-analyze security --offline=true --threshold="$threshold" "$scratch/nauthilus-neural.service" | tail -n 1
done
