import pytest

from casparian.libraries import missing_library


@pytest.mark.parametrize(
    ("text", "package"),
    [
        ("libEGL.so.1: cannot open shared object file: No such file or directory", "libegl1"),
        ("libGL.so.1: cannot open shared object file: No such file or directory", "libgl1"),
        ("libglib-2.0.so.0: cannot open shared object file", "libglib2.0-0"),
    ],
)
def test_a_missing_library_is_named_with_its_package(text, package):
    line = missing_library(ImportError(text))
    assert text.split(":")[0] in line
    assert f"apt install {package} " in line
    assert "\n" not in line


def test_a_library_that_nobody_knows_is_named():
    line = missing_library(ImportError("libodd.so.7: cannot open shared object file"))
    assert "libodd.so.7" in line


def test_another_fault_is_not_taken_for_one():
    assert missing_library(ImportError("No module named 'x'")) == ""
