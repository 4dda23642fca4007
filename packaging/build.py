"""Builds what people install: the frozen program, its packages, checksums, licences and list of parts.

    sh packaging/dev.sh build        on Linux and macOS
    python packaging/build.py        on Windows, in an environment with the group `build`

In dist/: on Linux a .deb, an .rpm and a .tar.xz, on Windows a .zip and the installer, on macOS a .dmg;
a bill of materials (CycloneDX) and SHA256SUMS beside them. The program must pass its own test first.
The same commit gives the same files: times are those of the commit, and order is by name.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import hashlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
import tomllib
from email.utils import formatdate
from functools import cache
from pathlib import Path

from bill import write_bill

from casparian.services.components import Component, installed, python

sys.path.insert(0, str(Path(__file__).parent / "windows"))
from version_info import write as write_version_info

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
DIST = ROOT / "dist"
ART = BUILD / "art"
FROZEN = BUILD / "frozen" / "casparian-flow"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]

MAINTAINER = "Casparian Flow developers <developers@casparianflow.example>"
INSTALLED_LIMIT = 340_000_000
PACKAGE_LIMIT = 110_000_000
START_LIMIT_S = 1.5
STARTS = 5
ICON_SIZES = (16, 32, 48, 256, 512)
ICON_FILES = {256: ("casparian.ico",), 512: ("casparian.icns",)}
TABOO = ("libreadline", "libgdbm", "libdb5")
NOT_FROZEN = re.compile(
    r"azure|msal|requests|urllib3|certifi|charset.normalizer|idna", re.IGNORECASE
)
"""See EXCLUDED in casparian.spec."""


def main() -> None:
    """Build everything that this system can build; end with 1 where a promise is not kept."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--only", choices=("tar", "deb", "rpm"), help="one package for Linux")
    only = arguments.parse_args().only
    os.environ.setdefault("SOURCE_DATE_EPOCH", str(commit_time()))
    os.environ["PYTHONHASHSEED"] = "0"
    draw_icons()
    freeze()
    parts = [*python_parts(), *system_parts()]
    copy_licences(parts)
    same_times(FROZEN)
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    write_bill(DIST / f"casparian-flow-{VERSION}.cdx.json", VERSION, parts)
    self_test()
    packages = pack(only)
    write_sums()
    if not report(packages):
        raise SystemExit(1)


def say(text: str) -> None:
    """Tell the one who waits."""
    print(text, flush=True)


def commit_time() -> int:
    """Seconds since 1970 of the commit that is built; of now outside a checkout."""
    done = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else int(time.time())


def digest(path: Path, algorithm: str) -> str:
    """The digest of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


# Making


def draw_icons() -> None:
    """Draw the sign in the forms that systems want, from the one drawing there is."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from PySide6.QtGui import QGuiApplication, QIcon

    app = QGuiApplication([])
    icon = QIcon(str(ROOT / "packaging" / "casparian.svg"))
    shutil.rmtree(ART, ignore_errors=True)
    ART.mkdir(parents=True)
    for size in ICON_SIZES:
        image = icon.pixmap(size, size).toImage()
        names = [f"{size}.png", *ICON_FILES.get(size, ())]
        for name in names:
            if not image.save(str(ART / name)):
                raise SystemExit(f"{name} could not be drawn")
    app.quit()
    write_version_info(ART / "version.txt", VERSION)


def freeze() -> None:
    """Run PyInstaller and take out what is of no use at run time."""
    log = BUILD / "pyinstaller.log"
    command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "INFO"]
    command += ["--distpath", str(FROZEN.parent), "--workpath", str(BUILD / "work")]
    say("Freezing")
    with log.open("wb") as file:
        done = subprocess.run(
            [*command, str(ROOT / "packaging" / "casparian.spec")],
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    text = log.read_text("utf-8", "replace")
    # A hidden import that is not there is only a line in the log.
    if done.returncode or re.search(r"^\d+ ERROR", text, re.MULTILINE):
        raise SystemExit(f"{text[-4000:]}\nPyInstaller failed, see {log}")
    if sys.platform == "linux":
        slim()


def slim() -> None:
    """Take out debugging symbols, and the folders of the build machine in which libraries would be sought.

    Microsoft's driver may be passed on only as it came.
    """
    libraries = [
        one
        for one in FROZEN.rglob("*.so*")
        if one.is_file() and not one.is_symlink() and "mssql_python_odbc" not in one.parts
    ]
    subprocess.run(["strip", "--strip-unneeded", *libraries], check=True)
    for one in libraries:
        if (found := _output("patchelf", "--print-rpath", str(one))) and "$ORIGIN" not in found:
            subprocess.run(["patchelf", "--remove-rpath", one], check=True)


def same_times(folder: Path) -> None:
    """Give every file the time of the commit."""
    at = int(os.environ["SOURCE_DATE_EPOCH"])
    for one in (folder, *folder.rglob("*")):
        os.utime(one, (at, at), follow_symlinks=False)


# What it is made of


def python_parts() -> list[Component]:
    """Python, and every distribution that the program needs, as far as it is frozen."""
    parts = [python(), *(one for one in installed() if not NOT_FROZEN.match(one.name))]
    without = [
        one.title for one in parts if not one.texts or not all(text.is_file() for text in one.texts)
    ]
    if without:
        raise SystemExit(f"There is no licence text of {', '.join(without)}")
    return parts


def system_parts() -> list[Component]:
    """The build system's own libraries in the frozen folder, by the package that has them."""
    if sys.platform != "linux" or not shutil.which("dpkg-query"):
        return []
    toc = ast.literal_eval((BUILD / "work" / "casparian" / "COLLECT-00.toc").read_text("utf-8"))
    sources = {
        os.path.realpath(source)
        for _, source, kind in next(one for one in toc if isinstance(one, list))
        if kind in {"BINARY", "EXTENSION"} and source.startswith(("/lib/", "/usr/lib/"))
    }
    packages = {name for source in sorted(sources) if (name := _package_of(source))}
    if taboo := [name for name in sorted(packages) if name.startswith(TABOO)]:
        raise SystemExit(f"These are under the GPL and must not be passed on with us: {taboo}")
    parts = []
    for name in sorted(packages):
        version = _output("dpkg-query", "-W", "-f=${Version}", name)
        plain = name.partition(":")[0]
        text = Path("/usr/share/doc") / plain / "copyright"
        parts.append(
            Component(
                plain,
                version,
                "",
                (text,) if text.is_file() else (),
                f"pkg:deb/debian/{plain}@{version}",
            )
        )
    return parts


@cache
def _package_of(source: str) -> str:
    # Where /lib is a link to /usr/lib, packages still have the old path on record.
    for path in (source, source.removeprefix("/usr")):
        if found := _output("dpkg-query", "-S", path, check=False):
            return found.split(": ")[0]
    return ""


def _output(*command: str, check: bool = True) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=check).stdout.strip()


def copy_licences(parts: list[Component]) -> None:
    """Put the terms of every part into the program, where its About dialog finds them."""
    internal = FROZEN / "_internal"
    target = (internal if internal.is_dir() else FROZEN) / "casparian" / "resources" / "licences"
    for part in parts:
        folder = target / re.sub(r"[^\w.+-]", "_", f"{part.name}-{part.version}")
        folder.mkdir(parents=True, exist_ok=True)
        for text in part.texts:
            shutil.copyfile(text, folder / f"{text.name.removesuffix('.txt')}.txt")
    shutil.copyfile(ROOT / "LICENSE", FROZEN / "LICENSE.txt")


# Trying it


def program() -> Path:
    """The command of the frozen program."""
    return FROZEN / ("casparian.exe" if sys.platform == "win32" else "casparian")


def self_test() -> None:
    """Let the frozen program test itself."""
    say("Self-test")
    subprocess.run([program(), "--self-test"], check=True)


def start_seconds() -> float:
    """The median of some warm starts, from the start of the process until the window is shown."""
    found = []
    for _ in range(STARTS + 1):
        environment = {**os.environ, "CASPARIAN_STARTED_AT": str(time.time())}
        done = subprocess.run(
            [program(), "--self-test"], capture_output=True, text=True, check=True, env=environment
        )
        found.append(float(re.search(r"([\d.]+) s after the start", done.stdout)[1]))
    return statistics.median(found[1:])  # the first fills the caches


# Packing


def pack(only: str | None) -> list[Path]:
    """Make the packages of this system."""
    say("Packing")
    if sys.platform == "linux":
        root = stage()
        makers = {"tar": tar_xz, "deb": lambda: deb(root), "rpm": lambda: rpm(root)}
        return [make() for name, make in makers.items() if only in {None, name}]
    if sys.platform == "win32":
        name = str(DIST / f"casparian-flow-{VERSION}-windows-x64")
        return [Path(shutil.make_archive(name, "zip", FROZEN.parent, FROZEN.name))]
    return []  # packaging/macos/make_dmg.sh


def tar_xz() -> Path:
    """The folder as it is, for systems that know neither packages."""
    target = DIST / f"casparian-flow-{VERSION}-linux-x86_64.tar.xz"

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        return member

    with target.open("wb") as file:
        xz = subprocess.Popen(["xz", "-6", "-T0"], stdin=subprocess.PIPE, stdout=file)
        with tarfile.open(fileobj=xz.stdin, mode="w|") as tar:
            for one in sorted((FROZEN, *FROZEN.rglob("*"))):
                name = f"{FROZEN.name}-{VERSION}" / one.relative_to(FROZEN)
                tar.add(one, str(name), recursive=False, filter=plain)
        xz.stdin.close()
        if xz.wait():
            raise SystemExit("xz failed")
    return target


def stage() -> Path:
    """The files of a package, where they will be on a system."""
    root, linux = BUILD / "root", ROOT / "packaging" / "linux"
    shutil.rmtree(root, ignore_errors=True)
    files = {
        linux / "casparian-flow.desktop": "share/applications/casparian-flow.desktop",
        linux / "casparian-flow.xml": "share/mime/packages/casparian-flow.xml",
        linux / "metainfo.xml": "share/metainfo/org.casparianflow.desktop.metainfo.xml",
        linux / "copyright": "share/doc/casparian-flow/copyright",
        linux / "lintian-overrides": "share/lintian/overrides/casparian-flow",
        ROOT
        / "packaging"
        / "casparian.svg": "share/icons/hicolor/scalable/apps/casparian-flow.svg",
        ART / "48.png": "share/icons/hicolor/48x48/apps/casparian-flow.png",
        ART / "256.png": "share/icons/hicolor/256x256/apps/casparian-flow.png",
    }
    for source, target in files.items():
        (root / "usr" / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, root / "usr" / target)
    shutil.copytree(FROZEN, root / "usr" / "lib" / "casparian-flow", symlinks=True)
    (root / "usr" / "bin").mkdir()
    (root / "usr" / "bin" / "casparian").symlink_to("../lib/casparian-flow/casparian")
    changes = f"casparian-flow ({VERSION}) unstable; urgency=medium\n\n  * See README.md.\n\n"
    changes += f" -- {MAINTAINER}  {formatdate(int(os.environ['SOURCE_DATE_EPOCH']))}\n"
    (root / "usr/share/doc/casparian-flow/changelog.gz").write_bytes(
        gzip.compress(changes.encode(), mtime=0)
    )
    for one in root.rglob("*"):
        if not one.is_symlink():
            runs = one.is_dir() or (one.parent.name == "casparian-flow" and one.name == "casparian")
            one.chmod(0o755 if runs else 0o644)
    return root


def deb(root: Path) -> Path:
    """The package for Debian and Ubuntu, by dpkg's own tool."""
    target = DIST / f"casparian-flow_{VERSION}_amd64.deb"
    control = root / "DEBIAN"
    control.mkdir()
    files = sorted(
        one for one in (root / "usr").rglob("*") if one.is_file() and not one.is_symlink()
    )
    size = sum(one.stat().st_size for one in files) // 1024
    text = (ROOT / "packaging" / "linux" / "control").read_text("utf-8")
    (control / "control").write_text(text.format(version=VERSION, size=size, maintainer=MAINTAINER))
    (control / "md5sums").write_text(
        "".join(f"{digest(one, 'md5')}  {one.relative_to(root)}\n" for one in files)
    )
    same_times(root)
    command = ["dpkg-deb", "--root-owner-group", "-Zxz", "-z6", "--build", root, target]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(control)
    return target


def rpm(root: Path) -> Path:
    """The package for Fedora, RHEL and SUSE, by rpm's own tool: of those here, only it packs small enough."""
    for one in ("usr/share/lintian", "usr/share/doc"):
        shutil.rmtree(root / one)
    same_times(root)
    top = BUILD / "rpm"
    shutil.rmtree(top, ignore_errors=True)
    values = {
        "_topdir": top,
        "staged": root,
        "project_version": VERSION,
        "licence": ROOT / "LICENSE",
        "_buildhost": "localhost",
        "use_source_date_epoch_as_buildtime": 1,
        "build_mtime_policy": "clamp_to_source_date_epoch",
        "_binary_payload": "w6T0.xzdio",
    }
    defines = [word for name, value in values.items() for word in ("-D", f"{name} {value}")]
    command = ["rpmbuild", "-bb", *defines, ROOT / "packaging" / "linux" / "casparian-flow.spec"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stderr[-4000:]}\nrpmbuild failed")
    made = next((top / "RPMS").rglob("*.rpm"))
    return Path(shutil.move(made, DIST / made.name))


def write_sums() -> None:
    """SHA-256 of everything that is passed on, as `sha256sum -c` reads it."""
    lines = [f"{digest(one, 'sha256')}  {one.name}\n" for one in sorted(DIST.iterdir())]
    (DIST / "SHA256SUMS").write_text("".join(lines), "utf-8", newline="\n")


def report(packages: list[Path]) -> bool:
    """Print the figures; whether the sizes are within their limits.

    How long a start takes depends on the machine as well: it is told, and fails nothing.
    """
    installed = sum(
        one.lstat().st_size for one in FROZEN.rglob("*") if one.is_file() and not one.is_symlink()
    )
    start = start_seconds()
    figures = [
        ("installed", installed / 1e6, INSTALLED_LIMIT / 1e6, "MB"),
        *((one.name, one.stat().st_size / 1e6, PACKAGE_LIMIT / 1e6, "MB") for one in packages),
        ("warm start until the window is shown", start, START_LIMIT_S, "s"),
    ]
    for name, value, limit, unit in figures:
        say(
            f"{name:<45} {value:8.2f} {unit:<2} (limit {limit:g}){'' if value <= limit else '  TOO MUCH'}"
        )
    (DIST / "figures.json").write_text(
        json.dumps({n: round(v, 2) for n, v, *_ in figures}, indent=1)
    )
    return all(value <= limit for _, value, limit, unit in figures if unit == "MB")


if __name__ == "__main__":
    main()
