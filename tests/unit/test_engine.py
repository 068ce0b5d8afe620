"""The layout engine: which one is taken, what it may not do, and what leaves it."""

from __future__ import annotations

import shutil
import stat
import xml.dom.minidom
from pathlib import Path

import graphviz
import pytest

from hooktrace.errors import RenderError, UnknownFormatError
from hooktrace.render.digraph import Digraph
from hooktrace.render.engine import find_engine, layout, write_atomically
from hooktrace.render.formats import RENDERERS, save
from hooktrace.render.scripts import drawing_engine

SMALL = 'digraph { a [label="one"]; a -> b }'


def program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any engine: returns the folder that is its PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.delenv("HOOKTRACE_ENGINE", raising=False)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path / "scripts"))
    return folder


def test_the_argument_comes_before_the_variable_and_that_before_the_rest(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    system = program(nowhere, "dot", "echo system")
    assert find_engine() == str(system)
    pure = program(tmp_path / "scripts", "graphviz-pure", "echo pure")
    assert find_engine() == str(pure)
    named = program(tmp_path, "named", "echo named")
    monkeypatch.setenv("HOOKTRACE_ENGINE", str(named))
    assert find_engine() == str(named)
    asked = program(tmp_path, "asked", "echo asked")
    assert find_engine(str(asked)) == str(asked)
    assert find_engine("dot") == str(system)
    assert layout(SMALL, "svg", str(asked)) == b"asked\n"


def test_the_installed_engine_is_found_without_an_activated_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HOOKTRACE_ENGINE", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert Path(find_engine()).stem == "graphviz-pure"


def test_without_an_engine_dot_text_is_written_and_the_error_says_what_to_install(
    nowhere: Path, tmp_path: Path
) -> None:
    assert save(SMALL, tmp_path / "x.dot").read_text() == SMALL
    with pytest.raises(RenderError, match="pip install graphviz-pure"):
        save(SMALL, tmp_path / "x.svg")
    assert not (tmp_path / "x.svg").exists()


@pytest.mark.parametrize("where", ["argument", "variable"])
def test_an_engine_that_does_not_exist_is_an_error_that_says_where_it_was_named(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOOKTRACE_ENGINE", raising=False)
    if where == "variable":
        monkeypatch.setenv("HOOKTRACE_ENGINE", "/no/such/dot")
        with pytest.raises(RenderError, match="HOOKTRACE_ENGINE='/no/such/dot'"):
            find_engine()
    else:
        with pytest.raises(RenderError, match="engine='/no/such/dot'"):
            find_engine("/no/such/dot")


def test_a_warning_of_the_engine_is_an_error(tmp_path: Path) -> None:
    talker = program(tmp_path, "talker", 'cat > /dev/null; echo "<svg/>"; echo "b is odd" >&2')
    with pytest.raises(RenderError, match=r"warned.*b is odd"):
        layout(SMALL, "svg", str(talker))


def test_a_real_warning_of_the_default_engine_is_an_error() -> None:
    with pytest.raises(RenderError, match="warned"):
        layout("digraph { a [shape=no_such_shape] }", "svg")


def test_text_that_is_no_dot_is_an_error() -> None:
    with pytest.raises(RenderError, match="failed"):
        layout("digraph { a -> ", "svg")


def test_letters_of_every_script_are_no_warning() -> None:
    assert "中文 ü" in layout('digraph { a [label="中文 ü"] }', "svg").decode()


def test_a_digraph_is_a_graphviz_source_that_needs_no_dot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    picture = Digraph(SMALL)
    assert isinstance(picture, graphviz.Source)
    assert picture.pipe("png").startswith(b"\x89PNG")  # type: ignore[union-attr]
    assert "<svg" in picture.pipe(encoding="utf-8")  # type: ignore[operator]
    assert "<svg" in picture._repr_mimebundle_()["image/svg+xml"]
    written = picture.render("picture", directory=tmp_path, format="png", cleanup=True)
    assert Path(written) == tmp_path / "picture.png"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["picture.png"]
    other = picture.render(outfile=tmp_path / "other.svg")
    xml.dom.minidom.parse(other)
    assert (tmp_path / "other.gv").read_text().strip() == SMALL


def test_view_opens_what_was_rendered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened: list[str] = []
    monkeypatch.setattr(Digraph, "_view", lambda self, path, **_: opened.append(path))
    Digraph(SMALL).view(filename="x", directory=tmp_path)
    assert opened == [str(tmp_path / "x.svg")]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "picture.svg"
    target.write_text("the old one")
    with pytest.raises(RenderError):
        save("digraph { a -> ", target)
    assert target.read_text() == "the old one"
    with pytest.raises(TypeError):
        write_atomically(target, "no bytes")  # type: ignore[arg-type]
    assert target.read_text() == "the old one"
    assert [one.name for one in tmp_path.iterdir()] == ["picture.svg"]


def test_a_written_file_has_the_usual_permissions(tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.touch()
    ours = write_atomically(tmp_path / "ours", b"")
    assert ours.stat().st_mode == usual.stat().st_mode


@pytest.mark.parametrize("name", ["picture.svgg", "picture", "picture.gif"])
def test_an_unknown_ending_is_an_error_that_names_the_known_ones(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownFormatError, match=r"\.dot, \.json, \.pdf, \.png, \.svg"):
        save(SMALL, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_the_endings_are_those_of_the_registry() -> None:
    assert {"dot", "pdf", "png", "svg"} <= set(RENDERERS)


def test_an_svg_is_themed_for_light_and_dark_and_stays_well_formed(tmp_path: Path) -> None:
    path = save(SMALL, tmp_path / "x.svg")
    document = xml.dom.minidom.parse(str(path))
    (style,) = document.getElementsByTagName("style")
    assert "prefers-color-scheme:dark" in style.firstChild.data  # type: ignore[union-attr]


CHINESE = 'digraph { a [label="\u5377\u79ef"] }'


def fonts(folder: Path, *letters: str) -> None:
    """Make an fc-list that knows of one font with these letters."""
    known = "|".join(f":charset={ord(one):x}" for one in letters) or "none"
    program(folder, "fc-list", f'case "$1" in {known}) echo Some Font;; esac')


def test_letters_beyond_the_bundled_fonts_are_drawn_by_an_engine_that_has_them(
    nowhere: Path, tmp_path: Path
) -> None:
    pure = program(tmp_path / "scripts", "graphviz-pure", "echo pure")
    assert drawing_engine(SMALL, "png") == str(pure)
    assert drawing_engine('digraph { a [label="\u00fc \u0416 \u03a9"] }', "png", None)
    with pytest.raises(RenderError, match=r"graphviz-pure draws no '\u5377', '\u79ef'.*Install"):
        drawing_engine(CHINESE, "png")
    dot = program(nowhere, "dot", "echo dot")
    with pytest.raises(RenderError, match=r"No installed font has '\u5377', '\u79ef'"):
        drawing_engine(CHINESE, "png")
    fonts(nowhere, "\u5377")
    with pytest.raises(RenderError, match=r"No installed font has '\u79ef', so the \.png"):
        drawing_engine(CHINESE, "png")
    fonts(nowhere, "\u5377", "\u79ef")
    assert drawing_engine(CHINESE, "png") == str(dot)
    with pytest.raises(RenderError, match="leave engine= out"):
        drawing_engine(CHINESE, "png", str(pure))


def test_an_svg_of_chinese_needs_no_font(tmp_path: Path) -> None:
    assert "\u5377\u79ef" in save(CHINESE, tmp_path / "x.svg").read_text()


def test_a_pdf_is_written_by_graphviz_itself(nowhere: Path, tmp_path: Path) -> None:
    program(tmp_path / "scripts", "graphviz-pure", "echo pure")
    with pytest.raises(RenderError, match=r"graphviz-pure writes no \.pdf. Install Graphviz"):
        save(SMALL, tmp_path / "x.pdf")
    program(nowhere, "dot", 'test "$2" = -Tpdf && echo %PDF')
    assert save(SMALL, tmp_path / "x.pdf").read_text() == "%PDF\n"


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_a_real_pdf(tmp_path: Path) -> None:
    assert save(SMALL, tmp_path / "x.pdf").read_bytes().startswith(b"%PDF-")
