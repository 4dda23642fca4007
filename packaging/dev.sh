#!/bin/sh
# The one door for development, tests and a first look:
#
#   sh packaging/dev.sh run [EVIDENCE...]   open the window with that evidence (a sample case if
#                                           none is named); without a screen, print its tables
#   sh packaging/dev.sh test [ARGUMENTS]    run the tests (arguments go to pytest)
#   sh packaging/dev.sh check               formatting, lint, types, imports and tests
#   sh packaging/dev.sh bench               measure, as ratios within one run
#   sh packaging/dev.sh build [--only deb]  make what people install, into dist/
#
# Each verb first sets up what is missing: the libraries that Qt needs (on Debian and Ubuntu, as root
# or with sudo) and .venv with the versions of packaging/constraints.txt. A second time is quick.
# PYTHON names the interpreter to use, if it is not to be looked for.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
venv=$root/.venv
python=$venv/bin/python
stamp=$venv/.stamp

say() { printf '%s\n' "$*" >&2; }

# Whether there should be a screen, and, once all is set up, whether it can be opened.
has_screen() {
    [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] || [ "$(uname)" = Darwin ]
}
opens_screen() {
    (
        "$python" -P -c 'from PySide6.QtGui import QGuiApplication; QGuiApplication([])'
        exit $?
    ) >/dev/null 2>&1
}

# What Qt links to, and the driver for SQL Server (the last), as PACKAGE:LIBRARY. The libraries are
# looked for, and not the packages, since these have other names on other systems and releases.
program_libraries='libgl1:libGL.so.1 libegl1:libEGL.so.1 libglib2.0-0:libglib-2.0.so.0
    libdbus-1-3:libdbus-1.so.3 libfontconfig1:libfontconfig.so.1 libxkbcommon0:libxkbcommon.so.0
    libltdl7:libltdl.so.7'
screen_libraries='libxcb-cursor0:libxcb-cursor.so.0 libxcb-icccm4:libxcb-icccm.so.4
    libxcb-keysyms1:libxcb-keysyms.so.1 libxcb-shape0:libxcb-shape.so.0
    libxkbcommon-x11-0:libxkbcommon-x11.so.0'

# What the build takes apart and packs with, as PACKAGE:COMMAND.
build_tools='binutils:strip dpkg:dpkg-deb patchelf:patchelf rpm:rpmbuild xz-utils:xz'

# What the packages are tried with, likewise. Without root they are not tried, and the tests say so.
package_tools='debootstrap:debootstrap desktop-file-utils:desktop-file-validate lintian:lintian
    nsis:makensis xvfb:Xvfb'

install_packages() {
    if ! command -v apt-get >/dev/null 2>&1; then
        say "These libraries are missing (Debian's names): $*"
        say "Install them with your system's package manager, then run this again."
        exit 1
    fi
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif command -v sudo >/dev/null 2>&1; then
        as_root=sudo
    else
        say "Please run as root, then run this again:"
        say "    apt-get install --no-install-recommends $*"
        exit 1
    fi
    say "Installing: $*"
    # shellcheck disable=SC2086  # empty, or one word
    {
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
        $as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    }
}

ensure_libraries() {
    [ "$(uname)" = Linux ] || return 0
    present=$(PATH=$PATH:/usr/sbin:/sbin ldconfig -p 2>/dev/null) || return 0
    wanted=$program_libraries
    if has_screen || [ "$verb" = build ]; then wanted="$wanted $screen_libraries"; fi
    missing=
    for one in $wanted; do
        case $present in
            *"${one#*:} "*) ;;
            *) missing="$missing ${one%%:*}" ;;
        esac
    done
    # shellcheck disable=SC2086  # a list of words
    if [ -n "$missing" ]; then install_packages $missing; fi
}

ensure_tools() {
    [ "$(uname)" = Linux ] || return 0
    missing=
    for one in "$@"; do
        command -v "${one#*:}" >/dev/null 2>&1 || missing="$missing ${one%%:*}"
    done
    # shellcheck disable=SC2086  # a list of words
    if [ -n "$missing" ]; then install_packages $missing; fi
}

is_fitting() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

find_python() {
    for one in ${PYTHON:+"$PYTHON"} python3.11 python3 python3.12 python3.13; do
        if command -v "$one" >/dev/null 2>&1 && is_fitting "$one"; then
            printf '%s' "$one"
            return 0
        fi
    done
    say "Python 3.11, 3.12 or 3.13 is needed; name it with PYTHON=/path/to/python."
    return 1
}

ensure_venv() {
    base=$(find_python)
    want=$("$base" -VV; printf '%s\n' "$root"; cat "$root/pyproject.toml" "$root/packaging/constraints.txt")
    want=$(printf '%s' "$want" | cksum)
    if [ -x "$python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then return 0; fi

    say "Setting up $venv"
    if ! "$base" -c 'import ensurepip, venv' 2>/dev/null; then
        install_packages "python$("$base" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    fi
    rm -f "$stamp"
    if [ "$("$python" -VV 2>/dev/null)" = "$("$base" -VV)" ]; then
        "$base" -m venv "$venv"
    else
        "$base" -m venv --clear "$venv"
    fi
    # Dependency groups came with pip 25.1; Debian's is older.
    "$python" -m pip install -q --disable-pip-version-check 'pip>=25.1'
    (cd "$root" && "$python" -m pip install -q --disable-pip-version-check \
        -c packaging/constraints.txt -e . --group dev)
    printf '%s' "$want" >"$stamp"
}

ensure_build_group() {
    [ "$(cat "$stamp.build" 2>/dev/null)" = "$want" ] && return 0
    (cd "$root" && "$python" -m pip install -q --disable-pip-version-check \
        -c packaging/constraints.txt --group build)
    printf '%s' "$want" >"$stamp.build"
}

# -P: evidence may lie in the current folder, and its files must never be taken for modules.
casparian() { "$python" -P -m casparian "$@"; }

run() {
    [ $# -gt 0 ] || set -- "$root/resources/sample"
    if has_screen && opens_screen; then
        casparian "$@"
        return
    fi
    say "There is no screen that can be opened, so the tables are printed."
    code=0
    casparian run "$@" || code=$?
    casparian tables
    return "$code"
}

run_tests() {
    cd "$root"
    if [ $# -eq 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        # shellcheck disable=SC2086  # a list of words
        ensure_tools $package_tools
    fi
    export QT_QPA_PLATFORM="${QT_QPA_PLATFORM:-offscreen}"
    "$python" -m pytest -q "$@"
}

check() {
    cd "$root"
    failed=
    step() {
        name=$1
        shift
        say "== $name"
        "$@" || failed="$failed $name"
    }
    step format "$python" -m ruff format --check .
    step lint "$python" -m ruff check .
    step types "$python" -m mypy
    step imports "$venv/bin/lint-imports"
    step tests run_tests "$@"
    [ -z "$failed" ] || { say "Failed:$failed"; return 1; }
}

bench() {
    cd "$root"
    export QT_QPA_PLATFORM="${QT_QPA_PLATFORM:-offscreen}" PYTHONPATH="$root/tests"
    failed=
    for one in tests/bench/bench_*.py; do
        say "== $one"
        "$python" "$one" || failed="$failed $one"
    done
    [ -z "$failed" ] || { say "Failed:$failed"; return 1; }
}

build() {
    # shellcheck disable=SC2086  # a list of words
    ensure_tools $build_tools
    ensure_build_group
    cd "$root"
    "$python" packaging/build.py "$@"
}

verb=${1:-run}
[ $# -eq 0 ] || shift
case $verb in
    run) ;;
    test) verb=run_tests ;;
    check | bench | build) ;;
    *)
        say "Use: sh packaging/dev.sh run [EVIDENCE...] | test | check | bench | build"
        exit 2
        ;;
esac
# Without a UTF-8 locale Qt warns, and names of files are not what they are.
if [ "$(uname)" = Linux ]; then export LC_ALL=C.UTF-8; fi
ensure_libraries
ensure_venv
"$verb" "$@"
