#!/usr/bin/env bash
# Starts compose/ for real on a Docker engine and sends calls from aws to azure.
#
#   compose/test.sh                 the newest of target/release/causeway and target/debug/causeway
#   BINARY=PATH compose/test.sh     that one; it must run on Debian 12
#
# Uses the Docker engine that is there, or starts one as root and stops it at the end. Pulls nothing in that case: the
# base image is made by debootstrap. Packages that are missing are installed where that is allowed.
# Exit code: 0 fine, 1 failed, 77 Docker cannot run here (says why).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
target=${CARGO_TARGET_DIR:-$root/target}
kept=$root/target/compose     # kept from run to run: the base image, the Python environment, the binary's copy
work=                         # of this run, removed at its end
engine=                       # process id of the engine that we started
tables=                       # the PATH on which it finds its iptables
compose=()                    # `docker-compose` or `docker compose`, once we know

say() { printf '%s\n' "$*"; }
ok() { say "ok: $*"; }
skip() { say "SKIP compose: $*"; exit 77; }
fail() { say "FAILED compose: $*" >&2; exit 1; }

# Tries a command until it succeeds, for at most $1 seconds.
within() {
    local deadline=$((SECONDS + $1)); shift
    until "$@" > /dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.2
    done
}

### What has to be there

# Makes sure that command $1 exists, by installing package $2.
need() {
    command -v "$1" > /dev/null || install "$2" || skip "\`$1\` is missing; install $2"
    command -v "$1" > /dev/null || skip "\`$1\` is missing although $2 is installed"
}

install() {
    [ "$(id -u)" = 0 ] || return 1
    command -v apt-get > /dev/null || return 1
    say "installing $1"
    get "$1" || { apt-get update && get "$1"; } > "$work/apt.log" 2>&1 || return 1
}

get() { DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$1" > "$work/apt.log" 2>&1; }

find_binary() {
    local found=${BINARY:-}
    if [ -z "$found" ]; then
        found=$target/release/causeway
        # The newer one; `-nt` also holds where the other is missing.
        [ ! "$target/debug/causeway" -nt "$found" ] || found=$target/debug/causeway
    fi
    [ -x "$found" ] || fail "no binary; run \`cargo build --release\`, or give BINARY=PATH"
    mkdir -p "$kept"
    cp "$found" "$kept/causeway"
    # A debug build is mostly symbols, and each image would carry them.
    strip "$kept/causeway" 2> /dev/null || true
    say "binary: $found"
}

make_python() {
    local python=$kept/venv/bin/python pins
    ! "$python" -c 'import grpc, websockets' 2> /dev/null || return 0
    need python3 python3
    rm -rf "$kept/venv"
    python3 -m venv "$kept/venv" > /dev/null || { install python3-venv && python3 -m venv "$kept/venv"; } \
        || fail "Python cannot make environments; install python3-venv"
    # The versions that the other tests use.
    pins=$(grep -hE '^(grpcio|websockets)==' "$root/tests/interop/requirements.txt" 2> /dev/null || true)
    # shellcheck disable=SC2086
    "$python" -m pip install --quiet --disable-pip-version-check ${pins:-grpcio websockets} \
        || fail "the Python packages grpcio and websockets cannot be installed"
}

### The engine

start_engine() {
    if docker info > /dev/null 2>&1; then
        say "engine: the one that runs already"
        return
    fi
    [ "$(id -u)" = 0 ] || skip "no Docker engine answers, and only root can start one"
    need dockerd docker.io
    need iptables iptables
    cat /proc/sys/net/ipv4/ip_forward > "$work/ip_forward"
    export DOCKER_HOST=unix://$work/docker.sock
    local legacy
    try_engine "$PATH" && return
    # A kernel without nf_tables may still have the older tables.
    if legacy=$(command -v iptables-legacy); then
        mkdir "$work/legacy"
        ln -s "$legacy" "$work/legacy/iptables"
        ln -s "$legacy-save" "$work/legacy/iptables-save"
        ln -s "$legacy-restore" "$work/legacy/iptables-restore"
        ln -s "$(dirname "$legacy")/ip6tables-legacy" "$work/legacy/ip6tables"
        try_engine "$work/legacy:$PATH" && return
    fi
    skip "dockerd does not start: $(grep -E 'level=fatal|failed to start' "$work/dockerd.log" | tail -n 1)"
}

# Starts the engine with $1 as PATH. It chooses the best storage that works: overlay2, or vfs as a last resort.
try_engine() {
    tables=$1
    PATH=$tables iptables-save > "$work/iptables" 2> /dev/null || true
    PATH=$tables setsid dockerd --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/dockerd.pid" \
        --host "$DOCKER_HOST" > "$work/dockerd.log" 2>&1 < /dev/null &
    engine=$!
    for _ in $(seq 150); do
        kill -0 "$engine" 2> /dev/null || { engine=; return 1; }
        if docker info > "$work/info" 2> /dev/null; then
            say "engine: dockerd $(sed -n 's/^ *Server Version: //p' "$work/info")," \
                "$(sed -n 's/^ *Storage Driver: //p' "$work/info")"
            return
        fi
        sleep 0.2
    done
    stop_engine
    return 1
}

stop_engine() {
    [ -n "$engine" ] || return 0
    kill "$engine" 2> /dev/null || true
    within 30 eval "! kill -0 $engine" || kill -9 "$engine" 2> /dev/null || true
    wait "$engine" 2> /dev/null || true
    engine=
    # What it leaves on the machine: a bridge, rules of the firewall, forwarding.
    ip link delete docker0 2> /dev/null || true
    {
        printf '%s\n' '*filter' ':INPUT ACCEPT' ':FORWARD ACCEPT' ':OUTPUT ACCEPT' COMMIT
        printf '%s\n' '*nat' ':PREROUTING ACCEPT' ':INPUT ACCEPT' ':OUTPUT ACCEPT' ':POSTROUTING ACCEPT' COMMIT
        cat "$work/iptables"
    } | PATH=$tables iptables-restore || true
    cat "$work/ip_forward" > /proc/sys/net/ipv4/ip_forward 2> /dev/null || true
}

find_compose() {
    if docker compose version > /dev/null 2>&1; then
        compose=(docker compose)
    else
        need docker-compose docker-compose
        compose=(docker-compose)
    fi
    # COMPOSE=docker-compose chooses where both are.
    [ -z "${COMPOSE:-}" ] || read -ra compose <<< "$COMPOSE"
    say "compose: $("${compose[@]}" version --short)"
}

base_image() {
    local image=debian:bookworm-slim tar=$kept/debian-bookworm-slim.tar
    docker image inspect "$image" > /dev/null 2>&1 && return
    [ -n "$engine" ] || ! docker pull --quiet "$image" 2> /dev/null || return 0
    if [ ! -e "$tar" ]; then
        need debootstrap debootstrap
        say "making $image by debootstrap"
        debootstrap --variant=minbase bookworm "$work/rootfs" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" \
            > "$work/debootstrap.log" 2>&1 || skip "debootstrap: $(tail -n 1 "$work/debootstrap.log")"
        tar -C "$work/rootfs" --exclude './dev/*' --exclude './var/cache/apt/archives/*.deb' -cf "$tar.new" .
        mv "$tar.new" "$tar"
        rm -rf --one-file-system "$work/rootfs"
    fi
    docker import --change 'CMD ["bash"]' "$tar" "$image" > /dev/null
}

### The end, also after a failure

finish() {
    local code=$?
    trap - EXIT INT TERM
    set +e
    if [ ${#compose[@]} -gt 0 ]; then
        if [ "$code" -ne 0 ] && [ "$code" -ne 77 ]; then
            "${compose[@]}" ps -a
            "${compose[@]}" logs --no-color --tail 40 2>&1
        fi
        "${compose[@]}" down --volumes --remove-orphans > "$work/down.log" 2>&1 || { cat "$work/down.log"; code=1; }
        docker image rm "causeway:$CAUSEWAY_TAG" "causeway-dns:$CAUSEWAY_TAG" > /dev/null 2>&1
    fi
    stop_engine
    rm -rf --one-file-system "$work"
    exit "$code"
}

work=$(mktemp -d /var/tmp/causeway-compose.XXXXXX)
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$here"

# Beside a set-up of the user's: other names and ports.
export COMPOSE_PROJECT_NAME=causeway-test COMPOSE_PROFILES=none CAUSEWAY_TAG=test
export CAUSEWAY_TARGET=prebuilt CAUSEWAY_BINARY=target/compose/causeway
export AWS_PORT=${AWS_PORT:-18180} AZURE_PORT=${AZURE_PORT:-28180}
# Clients would ask a proxy for loopback addresses too.
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY

need docker docker.io
need curl curl
find_binary
make_python
start_engine
base_image
find_compose

### Up

say "building"
# In place of Jaeger, whose image cannot be made here, this machine takes the traces: at its address on that network.
printf 'services:\n  %s: { extra_hosts: ["jaeger:10.213.3.1"] }\n  %s: { extra_hosts: ["jaeger:10.213.3.1"] }\n' aws azure \
    > "$work/traces.yml"
compose+=(-f docker-compose.yml -f "$work/traces.yml")

"${compose[@]}" build > "$work/build.log" 2>&1 || { tail -n 30 "$work/build.log"; fail "building the images"; }
"${compose[@]}" up -d > "$work/up.log" 2>&1 || { tail -n 30 "$work/up.log"; fail "docker compose up"; }

healthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$1")" = healthy ]; }
for service in dns backends azure aws; do
    id=$("${compose[@]}" ps -q "$service")
    within 60 healthy "$id" || fail "$service does not get healthy: $(
        docker inspect --format '{{range .State.Health.Log}}{{.Output}}{{end}}' "$id" | tail -n 1)"
done
ok "both gateways, the backends and the name server are healthy"

# Whether service $1 has written something that matches $2.
logged() { "${compose[@]}" logs --no-color "$1" 2>&1 | grep "$2" > /dev/null; }

### Calls from aws to azure

aws=127.0.0.1:$AWS_PORT
answered() { curl --silent --show-error --fail --max-time 5 "http://$aws/hello?from=aws" > "$work/answer"; }
within 20 answered || { answered || true; fail "no answer to an HTTP request"; }
grep -q '"backend": *"azure"' "$work/answer" || fail "not azure's backend answered: $(cat "$work/answer")"
ok "HTTP request"

"$kept/venv/bin/python" "$here/test.py" "$aws" 10.213.3.1:4317 || fail "a call through both gateways, or its trace"

### How azure was found

logged dns 'query\[SRV\] _causeway\._tcp\.gw\.azure\.acme\.example from 10\.213\.0\.11' \
    || fail "aws did not ask for azure's SRV record"
grep -q '10\.213\.0\.12' aws.toml && fail "aws.toml has azure's address, so the SRV record proves nothing"
# 10.213.0.12:7443 as /proc/net/tcp has it; 01 is an established connection.
"${compose[@]}" exec -T aws grep -q ' 0C00D50A:1D13 01 ' /proc/net/tcp || fail "no tunnel to the address of the SRV record"
ok "aws found azure by its SRV record, and the tunnel goes there"

### What cannot be reached

# Whether something on network $1 gets a connection to $2, host/port.
reaches() {
    docker run --rm --network "${COMPOSE_PROJECT_NAME}_$1" debian:bookworm-slim \
        timeout 2 bash -c ": < /dev/tcp/$2" > /dev/null 2>&1
}
reaches azure 10.213.2.20/3000 || fail "the backends cannot be reached from azure's network: the next checks prove nothing"
reaches aws 10.213.1.10/8080 || fail "the gateway of aws cannot be reached from its network: the next checks prove nothing"
! reaches aws 10.213.2.20/3000 || fail "azure's backends can be reached from aws"
! reaches aws 10.213.2.10/8080 || fail "azure's listener can be reached from aws"
! reaches aws 10.213.0.12/7443 || fail "azure's gateway can be reached from aws without the gateway there"
! reaches azure 10.213.1.10/8080 || fail "the listener of aws can be reached from azure"
! reaches wan 10.213.2.20/3000 || fail "azure's backends can be reached from the wan"
! reaches wan 10.213.1.10/8080 || fail "the listener of aws can be reached from the wan"
ok "the sites' networks are apart"

### Again

"${compose[@]}" up -d > "$work/up.log" 2>&1 || { tail -n 30 "$work/up.log"; fail "the second docker compose up"; }
within 10 logged pki 'aws: certificates are there already' \
    || fail "the second \`up\` did not keep the certificates"
within 20 answered || fail "no answer after the second \`up\`"
ok "a second \`up\` keeps the certificates"

"${compose[@]}" restart azure > "$work/restart.log" 2>&1 || fail "restarting azure"
within 20 answered || fail "aws did not find azure again after a restart"
ok "aws finds azure again after a restart"
say "compose: all fine"
