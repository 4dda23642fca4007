"""The door of development, with stand-ins for Python, apt and the system's list of libraries."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")

ROOT = Path(__file__).resolve().parents[2]
PYTHON = """#!/bin/sh
# Makes a copy of itself as the environment's Python, and writes down what it is asked to run.
case "$*" in
    -VV) echo "Python 3.11.7 (stand-in)" ;;
    *"import sys; sys.exit"* | *"import ensurepip"*) ;;
    *QGuiApplication*) exit "${NO_SCREEN:-0}" ;;
    "-m venv"*) for last; do :; done; mkdir -p "$last/bin"; cp "$0" "$last/bin/python" ;;
    *) printf '%s|' "$PWD" "$@" >>"$LOG"; echo >>"$LOG" ;;
esac
"""
ALL = [
    "libGL.so.1",
    "libEGL.so.1",
    "libglib-2.0.so.0",
    "libdbus-1.so.3",
    "libfontconfig.so.1",
    "libxkbcommon.so.0",
    "libltdl.so.7",
    "libxcb-cursor.so.0",
    "libxcb-icccm.so.4",
    "libxcb-keysyms.so.1",
    "libxcb-shape.so.0",
    "libxkbcommon-x11.so.0",
]


PACKAGE_TOOLS = ["debootstrap", "desktop-file-validate", "lintian", "makensis", "Xvfb"]
BUILD_TOOLS = ["strip", "dpkg-deb", "patchelf", "rpmbuild", "xz"]


class Checkout:
    """A checkout in a folder with a space in its name, and what its script did."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "check out"
        self.tools = folder / "tools"
        self.log = folder / "log"
        self.elsewhere = folder / "else where"
        for path in (self.root / "packaging", self.tools, self.elsewhere):
            path.mkdir(parents=True)
        shutil.copy(ROOT / "packaging" / "dev.sh", self.root / "packaging")
        (self.root / "pyproject.toml").write_text("[project]\n")
        (self.root / "packaging" / "constraints.txt").write_text("x==1\n")
        self.tool("python", PYTHON)
        self.has_libraries(*ALL)
        self.tool("apt-get", '#!/bin/sh\nprintf "apt-get %s\\n" "$*" >>"$LOG"\n')
        self.tool("id", "#!/bin/sh\necho 0\n")
        for name in PACKAGE_TOOLS + BUILD_TOOLS:
            self.tool(name, "#!/bin/sh\n")

    def tool(self, name: str, text: str) -> None:
        path = self.tools / name
        path.write_text(text)
        path.chmod(0o755)

    def has_libraries(self, *names: str) -> None:
        lines = "".join(f"\t{name} (libc6,x86-64) => /lib/{name}\n" for name in names)
        self.tool("ldconfig", f"#!/bin/sh\ncat <<'END'\n{lines}END\n")

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        environ = {
            "PATH": f"{self.tools}:/usr/bin:/bin",
            "PYTHON": str(self.tools / "python"),
            "LOG": str(self.log),
            **environ,
        }
        return subprocess.run(
            ["sh", str(self.root / "packaging" / "dev.sh"), *arguments],
            cwd=self.elsewhere,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )

    def done(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_the_first_time_sets_up_and_the_second_does_not(checkout: Checkout) -> None:
    first = checkout.run("test")
    second = checkout.run("test", "-k", "a b")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    root = checkout.root
    pip = f"{root}|-m|pip|install|-q|--disable-pip-version-check|"
    assert checkout.done() == [
        f"{checkout.elsewhere}|-m|pip|install|-q|--disable-pip-version-check|pip>=25.1|",
        f"{pip}-c|packaging/constraints.txt|-e|.|--group|dev|",
        f"{root}|-m|pytest|-q|",
        f"{root}|-m|pytest|-q|-k|a b|",
    ]


@pytest.mark.parametrize("changed", ["pyproject.toml", "packaging/constraints.txt"])
def test_other_dependencies_are_installed_again(checkout: Checkout, changed: str) -> None:
    checkout.run("test")
    (checkout.root / changed).write_text("other\n")
    checkout.run("test")

    assert sum("constraints.txt" in line for line in checkout.done()) == 2


def test_an_installation_that_failed_is_tried_again(checkout: Checkout) -> None:
    checkout.tool("python", PYTHON.replace("    *) printf", "    *pip*) exit 1 ;;\n    *) printf"))
    assert checkout.run("test").returncode == 1
    checkout.tool("python", PYTHON)
    shutil.copy(checkout.tools / "python", checkout.root / ".venv" / "bin" / "python")
    assert checkout.run("test").returncode == 0
    assert "|-m|pytest|-q|" in checkout.done()[-1]


def test_with_a_screen_the_window_opens_with_the_evidence(checkout: Checkout) -> None:
    assert checkout.run("run", "a b", "c", DISPLAY=":0").returncode == 0

    assert checkout.done()[-1] == f"{checkout.elsewhere}|-P|-m|casparian|a b|c|"


def test_without_a_screen_the_tables_are_printed(checkout: Checkout) -> None:
    assert checkout.run("run", "a b").returncode == 0

    assert checkout.done()[-2:] == [
        f"{checkout.elsewhere}|-P|-m|casparian|run|a b|",
        f"{checkout.elsewhere}|-P|-m|casparian|tables|",
    ]


def test_a_screen_that_does_not_open_is_told_and_the_tables_are_printed(checkout: Checkout) -> None:
    done = checkout.run("run", "x", DISPLAY=":99", NO_SCREEN="134")

    assert "no screen that can be opened" in done.stderr
    assert checkout.done()[-1].endswith("|casparian|tables|")


def test_without_an_argument_it_runs_on_the_sample_case(checkout: Checkout) -> None:
    checkout.run()

    assert checkout.done()[-2].endswith(f"|casparian|run|{checkout.root}/resources/sample|")


def test_missing_libraries_are_installed_as_root(checkout: Checkout) -> None:
    checkout.has_libraries(*(name for name in ALL if "xcb" not in name and "GL.so" not in name))
    assert checkout.run("test").returncode == 0
    assert checkout.done()[:2] == [
        "apt-get update -qq",
        "apt-get install -y -qq --no-install-recommends libgl1 libegl1",
    ]


def test_the_whole_suite_brings_what_the_packages_are_tried_with(checkout: Checkout) -> None:
    if shutil.which("debootstrap", path="/usr/bin:/bin"):
        pytest.skip("debootstrap is installed where it cannot be hidden")
    (checkout.tools / "debootstrap").unlink()
    checkout.run("test", "tests/ui")
    assert not any("apt-get" in line for line in checkout.done())
    checkout.run("test")
    assert "apt-get install -y -qq --no-install-recommends debootstrap" in checkout.done()


def test_a_build_has_its_tools_its_libraries_and_its_own_dependencies(checkout: Checkout) -> None:
    checkout.has_libraries(*ALL[:-1])
    assert checkout.run("build", "--only", "deb").returncode == 0
    checkout.run("build")
    done = [line for line in checkout.done() if not line.startswith("apt-get update")]
    pip = f"{checkout.root}|-m|pip|install|-q|--disable-pip-version-check|-c|packaging/constraints.txt|"
    assert done[0].endswith("--no-install-recommends libxkbcommon-x11-0")
    assert done.count(f"{pip}--group|build|") == 1
    assert f"{checkout.root}|packaging/build.py|--only|deb|" in done
    assert done[-1] == f"{checkout.root}|packaging/build.py|"


def test_a_screen_needs_more_libraries(checkout: Checkout) -> None:
    checkout.has_libraries(*ALL[:7])
    checkout.run("run", DISPLAY=":0")

    assert checkout.done()[1] == (
        "apt-get install -y -qq --no-install-recommends "
        "libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0 libxkbcommon-x11-0"
    )


def test_without_the_right_to_install_it_says_what_to_install(checkout: Checkout) -> None:
    checkout.has_libraries(*ALL[1:])
    checkout.tool("id", "#!/bin/sh\necho 1000\n")
    done = checkout.run("test", PATH=f"{checkout.tools}:{a_path_without_sudo(checkout)}")

    assert done.returncode == 1
    assert "apt-get install --no-install-recommends libgl1" in done.stderr
    assert checkout.done() == []


def a_path_without_sudo(checkout: Checkout) -> Path:
    folder = checkout.tools.parent / "bin"
    folder.mkdir()
    for name in ("sh", "dirname", "uname", "cat", "cksum", "env", "mkdir", "cp", "rm"):
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


def test_another_verb_is_refused_with_the_usage(checkout: Checkout) -> None:
    done = checkout.run("tset")

    assert done.returncode == 2
    assert "run [EVIDENCE...] | test | check | bench" in done.stderr


def test_check_runs_every_step_and_names_those_that_failed(checkout: Checkout) -> None:
    checkout.run("test")
    python = checkout.root / ".venv" / "bin" / "python"
    python.write_text(PYTHON.replace("    *) printf", "    *mypy*) exit 1 ;;\n    *) printf"))
    imports = checkout.root / ".venv" / "bin" / "lint-imports"
    imports.write_text("#!/bin/sh\nexit 0\n")
    imports.chmod(0o755)

    done = checkout.run("check")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "Failed: types"
    assert checkout.done()[-1].endswith("|-m|pytest|-q|")


def test_bench_runs_every_bench_and_names_those_that_failed(checkout: Checkout) -> None:
    folder = checkout.root / "tests" / "bench"
    folder.mkdir(parents=True)
    for name in ("bench_a.py", "bench_b.py", "other.py"):
        (folder / name).write_text("")

    assert checkout.run("bench").returncode == 0
    assert [line.split("|")[1] for line in checkout.done()[-2:]] == [
        "tests/bench/bench_a.py",
        "tests/bench/bench_b.py",
    ]


def test_integration_runs_the_test_command_of_the_readme() -> None:
    command = "sh packaging/dev.sh test"

    assert command in (ROOT / ".ci" / "run").read_text("utf-8")
    assert command in (ROOT / "README.md").read_text("utf-8")
