"""The sample case is taken from where it lies, unless it is gone the next time."""

import tempfile

import pytest

from casparian import assets
from casparian.domain.errors import EnvironmentProblem
from casparian.services.sample import sample_case


@pytest.fixture
def unpacked(tmp_path, monkeypatch):
    """A program that lies in a temporary folder."""
    temporary = tmp_path / "temporary"
    sample = temporary / "program" / "sample"
    (sample / "web01").mkdir(parents=True)
    (sample / "web01" / "a.csv").write_text("x\n1\n")
    (sample / "web01" / "a.csv").chmod(0o444)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(assets, "folder", lambda name: temporary / "program" / name)
    return temporary


def test_it_is_taken_from_where_it_lies(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    assert sample_case(tmp_path) == assets.folder("sample")
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_place_is_copied_once(unpacked, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    copy = sample_case(home)
    assert copy == home / "sample"
    assert (copy / "web01" / "a.csv").read_text() == "x\n1\n"
    assert sample_case(home) == copy
    assert [one.name for one in home.iterdir()] == ["sample"]


def test_a_home_that_is_as_temporary_needs_no_copy(unpacked):
    home = unpacked / "home"
    assert sample_case(home) == unpacked / "program" / "sample"


def test_a_copy_that_cannot_be_made_leaves_nothing(unpacked, tmp_path):
    home = tmp_path / "home"
    home.write_text("a file in the way")
    with pytest.raises(EnvironmentProblem, match="Could not copy the sample case"):
        sample_case(home)
    assert home.read_text() == "a file in the way"
