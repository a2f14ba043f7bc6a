#!/bin/sh
# Finds a Redis or Valkey server for the tests, or installs one. Prints its path; everything else goes to standard error.
#
# Order: $REDIS_SERVER, then redis-server or valkey-server in PATH; version 7 or later. Otherwise it installs the
# distribution's package as root or with "sudo -n", and leaves no service running. The tests start servers of their own.
set -eu

oldest=7
policy=/usr/sbin/policy-rc.d
policy_is_ours=no

say() { echo "ensure-redis: $*" >&2; }
fail() {
    say "$*"
    exit 1
}

# Major version of a server, 0 when it is none ("Redis server v=7.0.15 …", "Valkey server v=8.1.1 …").
major_of() {
    text=$("$1" --version 2>/dev/null | sed -n 's/.*v=\([0-9][0-9]*\)\..*/\1/p' | head -n 1) || text=
    echo "${text:-0}"
}

find_server() {
    for name in redis-server valkey-server; do
        found=$(command -v "$name" 2>/dev/null) || continue
        if [ "$(major_of "$found")" -ge "$oldest" ]; then
            echo "$found"
            return 0
        fi
    done
    return 1
}

by_hand() {
    cat >&2 <<'EOF'
ensure-redis: build a server and name it, then run the tests again:
    curl -fsSL https://download.redis.io/redis-stable.tar.gz | tar xz
    make -C redis-stable -j2
    export REDIS_SERVER="$PWD/redis-stable/src/redis-server"
EOF
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

# Ends the script with the command to type, unless packages can be installed from here.
need_root() {
    [ "$(id -u)" -eq 0 ] && return 0
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        return 0
    fi
    fail "no Redis or Valkey $oldest or later, and no right to install one; run: $1"
}

drop_policy() {
    if [ "$policy_is_ours" = yes ]; then
        as_root rm -f "$policy"
        policy_is_ours=no
    fi
}

# Major version of the package that apt would install, 0 when there is none.
apt_major() {
    text=$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: \([0-9]*:\)\{0,1\}\([0-9][0-9]*\)\..*/\2/p') || text=
    echo "${text:-0}"
}

install_with_apt() {
    need_root "sudo apt-get update && sudo apt-get install -y redis-server"
    as_root apt-get update >&2 || say "apt-get update failed; trying with what is known"
    for package in redis-server valkey-server; do
        [ "$(apt_major "$package")" -ge "$oldest" ] || continue
        # Packages start their service unless this file says no. One that exists is somebody else's decision.
        if [ ! -e "$policy" ]; then
            trap drop_policy EXIT
            trap 'exit 1' INT TERM HUP
            policy_is_ours=yes
            printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
            as_root chmod 755 "$policy"
        fi
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends \
            "$package" >&2 || fail "cannot install; run: sudo apt-get install -y $package"
        drop_policy
        # Not at the next boot either: nobody asked for a server, only for the program.
        if command -v systemctl >/dev/null 2>&1; then
            as_root systemctl disable "$package" >/dev/null 2>&1 || true
        fi
        return 0
    done
    say "this distribution has no redis-server or valkey-server $oldest or later"
    by_hand
    exit 1
}

install_with_dnf() {
    need_root "sudo dnf install -y valkey"
    # Fedora and RHEL 10 have Valkey; RHEL 9 has Redis 7 as a module beside its older default.
    as_root dnf install -y valkey >&2 && return 0
    as_root dnf module enable -y redis:7 >&2 || true
    as_root dnf install -y redis >&2 || fail "cannot install; run: sudo dnf install -y valkey"
}

install_with_apk() {
    need_root "sudo apk add redis"
    as_root apk add --no-cache redis >&2 || as_root apk add --no-cache valkey >&2 || fail "cannot install; run: sudo apk add redis"
}

install_with_brew() {
    brew install valkey >&2 || brew install redis >&2 || fail "cannot install; run: brew install valkey"
}

if [ -n "${REDIS_SERVER:-}" ]; then
    server=$(command -v "$REDIS_SERVER" 2>/dev/null) || fail "REDIS_SERVER=$REDIS_SERVER is not a program"
    [ "$(major_of "$server")" -ge "$oldest" ] || fail "REDIS_SERVER=$REDIS_SERVER is not a Redis or Valkey server $oldest or later"
    echo "$server"
    exit 0
fi

if server=$(find_server); then
    echo "$server"
    exit 0
fi

if command -v apt-get >/dev/null 2>&1; then
    install_with_apt
elif command -v dnf >/dev/null 2>&1; then
    install_with_dnf
elif command -v apk >/dev/null 2>&1; then
    install_with_apk
elif command -v brew >/dev/null 2>&1; then
    install_with_brew
else
    say "no Redis or Valkey $oldest or later, and no package manager that this script knows"
    by_hand
    exit 1
fi

if ! server=$(find_server); then
    say "what was installed is not Redis or Valkey $oldest or later"
    by_hand
    exit 1
fi
say "installed $server"
echo "$server"
