"""The .deb on a machine with nothing: unpacked, missing a library, installed, tried, removed.

The machine is a minimal Debian in a folder of its own (debootstrap), without Python and without the
program's sources; what it shows is seen on a virtual screen (Xvfb). The package is built for it, unless
CASPARIAN_TEST_DEB names one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("debootstrap", "Xvfb", "chroot", "mount", "unshare", "lintian", "desktop-file-validate")
DISPLAY = ":87"
MANY = 100
"""Colours that tell a window with text from an empty screen."""
GRAB = """
import sys
from PySide6.QtGui import QGuiApplication
app = QGuiApplication([])
picture = app.primaryScreen().grabWindow(0)
image = picture.toImage()
colours = {image.pixel(x, y) for x in range(0, image.width(), 5) for y in range(0, image.height(), 5)}
picture.save(sys.argv[1])
print(len(colours))
"""

pytestmark = pytest.mark.timeout(1200)


def missing() -> str:
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a clean root can only be made by root on Linux"
    lacking = [one for one in TOOLS if not shutil.which(one)]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(one) for one in command], capture_output=True, text=True, check=False, **options
    )


def checked(*command: object, **options: object) -> str:
    done = run(*command, **options)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def deb() -> Path:
    if reason := missing():
        pytest.skip(f"The package is not tried: {reason}")
    if given := os.environ.get("CASPARIAN_TEST_DEB"):
        return Path(given)
    said = checked("sh", "packaging/dev.sh", "build", "--only", "deb", cwd=ROOT, timeout=1000)
    print(said)
    return next((ROOT / "dist").glob("*.deb"))


def mirror() -> str:
    """Where this machine gets its packages from."""
    lines = []
    for one in (Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")):
        if one.is_file():
            lines += [line for line in one.read_text().splitlines() if not line.startswith("#")]
    return next(
        iter(re.findall(r"https?://\S+/debian(?=/?\s)", "\n".join(lines) + "\n")),
        "http://deb.debian.org/debian",
    )


class Machine:
    """A minimal Debian in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, *command: object, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run a command there, as root, without a network."""
        return self._run(("unshare", "--net", "chroot", self.root), command, extra)

    def as_user(self, *command: object, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run a command there as somebody without rights, without a network."""
        chroot = ("unshare", "--net", "chroot", "--userspec=1000:1000", self.root)
        return self._run(chroot, command, {"HOME": "/home/examiner", **extra})

    def apt(self, *command: str) -> str:
        done = self._run(
            ("chroot", self.root),
            ("apt-get", "-y", "-q", "--no-install-recommends", *command),
            {"DEBIAN_FRONTEND": "noninteractive"},
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    @staticmethod
    def _run(
        chroot: tuple[object, ...], command: tuple[object, ...], extra: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "HOME": "/root",
        }
        return run(*chroot, *command, env={**environment, **extra}, cwd="/", timeout=300)

    def has(self, pattern: str) -> list[str]:
        """Paths there with the pattern in their name."""
        found = run("find", self.root, "-xdev", "-iname", f"*{pattern}*").stdout
        return [one.removeprefix(str(self.root)) for one in found.splitlines()]


@pytest.fixture(scope="module")
def machine(deb: Path, tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("machine")
    made = run("debootstrap", "--variant=minbase", "bookworm", root, mirror(), timeout=600)
    if made.returncode:
        pytest.skip(f"The package is not tried: no clean root can be made: {made.stdout[-300:]}")
    root.chmod(0o755)
    for one in ("etc/resolv.conf", "etc/hosts"):
        shutil.copyfile(f"/{one}", root / one)
    for folder in ("apt.conf.d", "sources.list.d"):
        shutil.copytree(f"/etc/apt/{folder}", root / "etc/apt" / folder, dirs_exist_ok=True)
    (root / "tmp/.X11-unix").mkdir(exist_ok=True)
    mounts = [
        ("-t", "proc", "proc", root / "proc"),
        ("--bind", "/tmp/.X11-unix", root / "tmp/.X11-unix"),
    ]
    screen = subprocess.Popen(
        ["Xvfb", DISPLAY, "-screen", "0", "1280x800x24", "-nolisten", "tcp"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    made_mounts = []
    try:
        while not Path(f"/tmp/.X11-unix/X{DISPLAY[1:]}").exists():
            assert screen.poll() is None, "Xvfb does not start"
            time.sleep(0.05)
        for one in mounts:
            if run("mount", *one).returncode:
                pytest.skip(f"The package is not tried: {one[-1]} cannot be mounted")
            made_mounts.append(one[-1])
        shutil.copyfile(deb, root / "package.deb")
        machine = Machine(root)
        checked("chroot", root, "useradd", "-m", "-u", "1000", "examiner")
        yield machine
    finally:
        for one in reversed(made_mounts):
            run("umount", "-l", one)
        screen.terminate()
        screen.wait()
        shutil.rmtree(root, ignore_errors=True)


def test_the_package_is_sound(deb: Path) -> None:
    checked("lintian", "--fail-on", "error", deb)
    checked("desktop-file-validate", ROOT / "packaging/linux/casparian-flow.desktop")


def test_installed_tried_and_removed(machine: Machine, tmp_path: Path) -> None:
    assert not machine.has("python3")
    machine.apt("update")

    # Unpacked without what it depends on, it names the package to install.
    machine("dpkg", "--unpack", "/package.deb")
    bare = machine.as_user("casparian", DISPLAY=DISPLAY)
    assert (bare.returncode, len(bare.stderr.strip().splitlines())) == (3, 1), bare.stderr
    assert "apt install libegl1" in bare.stderr or "apt install libgl1" in bare.stderr
    machine("dpkg", "--purge", "--force-all", "casparian-flow")

    machine.apt("install", "/package.deb")
    tested = machine.as_user(
        "casparian", "--self-test", "/home/examiner/window.png", DISPLAY=DISPLAY
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "(xcb)" in tested.stdout
    assert tested.stdout.splitlines()[-1].startswith("passed")

    headless = machine.as_user("casparian", "--self-test")
    assert headless.returncode == 0, headless.stdout + headless.stderr

    nowhere = machine.as_user("casparian")
    assert (nowhere.returncode, len(nowhere.stderr.strip().splitlines())) == (3, 1), nowhere.stderr

    see_the_window(machine, tmp_path)
    assert (machine.root / "home/examiner/.casparian_flow/state.sqlite").is_file()

    machine.apt("purge", "casparian-flow")
    left = [one for one in machine.has("casparian") if not one.startswith("/home/examiner")]
    assert left == []
    assert machine.has(".casparian_flow") == ["/home/examiner/.casparian_flow"]


def see_the_window(machine: Machine, folder: Path) -> None:
    """Open the real window on the sample case and take a picture of the screen."""
    window = subprocess.Popen(
        [
            "unshare",
            "--net",
            "chroot",
            "--userspec=1000:1000",
            str(machine.root),
            "casparian",
            "/usr/lib/casparian-flow/_internal/casparian/resources/sample",
        ],
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "HOME": "/home/examiner",
            "DISPLAY": DISPLAY,
            "CASPARIAN_NO_WELCOME": "1",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    picture = Path(os.environ.get("CASPARIAN_TEST_PICTURES") or folder) / "installed.png"
    output = machine.root / "home/examiner/.casparian_flow/output"
    environment = {**os.environ, "DISPLAY": DISPLAY, "QT_QPA_PLATFORM": "xcb"}
    try:
        until = time.monotonic() + 60
        colours = 0
        while (colours < MANY or not list(output.rglob("*.parquet"))) and time.monotonic() < until:
            time.sleep(0.5)
            assert window.poll() is None, window.stderr.read()
            colours = int(checked(sys.executable, "-c", GRAB, picture, env=environment))
        assert colours >= MANY
    finally:
        window.terminate()
        try:
            window.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            window.kill()
            window.communicate()
            raise
    assert window.returncode == 0
