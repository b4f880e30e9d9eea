"""Labels in scripts that DejaVu Sans lacks, with a font that the tests make."""

import logging
import warnings

import numpy as np
import pytest
from detectron2.utils.visualizer import Visualizer
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from PIL import ImageFont

from masqclip_d2.results import Segment, Segmentation, fonts
from masqclip_d2.results.fonts import fonts_of_characters, use_fonts
from masqclip_d2.vocabulary import Vocabulary

CAT, DOG, SMILE, ARABIC = "\u732b", "\u72d7", "\U0001f600", "\u0643\u0644\u0628"
JOINER = "\u200d"


def make_font(path, characters, has_outlines=True):
    """A font with a triangle, or nothing, for each character."""
    names = [".notdef", *(f"uni{ord(character):X}" for character in characters)]
    pen = TTGlyphPen(None)
    if has_outlines:
        pen.moveTo((100, 0))
        pen.lineTo((500, 800))
        pen.lineTo((900, 0))
        pen.closePath()
    glyph = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(dict(zip(map(ord, characters), names[1:], strict=True)))
    builder.setupGlyf(dict.fromkeys(names, glyph))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    path.parent.mkdir(parents=True, exist_ok=True)
    builder.save(path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The only folder of fonts of this machine."""
    monkeypatch.setattr(fonts, "_folders", lambda: [tmp_path / "fonts"])
    monkeypatch.setattr(fonts, "_font_of", {})
    monkeypatch.delenv(fonts.FONTS_VARIABLE, raising=False)
    return tmp_path / "fonts"


def test_dejavu_has_most_scripts_and_needs_no_search(folder, monkeypatch):
    monkeypatch.setattr(fonts, "_font_files", None)
    assert fonts_of_characters(["dog 87%", "\u043f\u043b\u043e\u0442", ARABIC, SMILE, f"a{JOINER}\ufe0f\t"]) == {}


def test_the_first_font_that_draws_a_character_is_taken(folder, caplog):
    make_font(folder / "a" / "Any.ttf", [CAT, DOG])
    make_font(folder / "NotoSansAny-Bold.ttf", [CAT])
    noto = make_font(folder / "NotoSansAny-Regular.ttf", [CAT])
    make_font(folder / "LastResort.otf", [CAT, DOG])
    make_font(folder / "NotoEmpty-Regular.ttf", [DOG], has_outlines=False)  # as fonts of layered colors
    (folder / "NotoBroken.ttf").write_bytes(b"no font")
    fonts = fonts_of_characters([f"{CAT} dog", DOG])
    assert fonts == {CAT: str(noto), DOG: str(folder / "a" / "Any.ttf")} and not caplog.records


def test_a_chosen_font_comes_first(folder, tmp_path, monkeypatch):
    make_font(folder / "NotoSansAny-Regular.ttf", [CAT])
    own = make_font(tmp_path / "own" / "Own.ttf", [CAT])
    for value in (own, own.parent):
        monkeypatch.setenv(fonts.FONTS_VARIABLE, str(value))
        assert fonts_of_characters([CAT]) == {CAT: str(own)}


def test_characters_without_a_font_are_said_once(folder, caplog):
    with caplog.at_level(logging.WARNING):
        for labels in ([f"{CAT} 1"], [f"{CAT} 2"], [CAT, "dog"]):
            assert fonts_of_characters(labels) == {}
    [record] = caplog.records
    assert f"has the characters {CAT} of the labels" in record.message and "MASQCLIP_FONTS" in record.message


def _drawing(name):
    mask = np.ones((480, 600), bool)
    result = Segmentation(np.zeros((480, 600, 3), np.uint8), Vocabulary.from_names([name]), "semantic")
    result.segments = [Segment(name, 0, True, 0.87, mask)]
    return result.draw()


def test_the_label_of_a_segment_has_the_font(folder, caplog):
    box = _drawing(CAT)
    assert len(caplog.records) == 1
    fonts._font_of.clear()
    make_font(folder / "Any.ttf", [CAT])
    assert not np.array_equal(_drawing(CAT), box)
    assert np.array_equal(_drawing("cat"), _drawing("cat"))


def test_matplotlib_draws_with_the_fonts(folder):
    """As for the real Detectron2: DejaVu Sans for letters, the found font for the rest, without a warning."""
    from matplotlib.figure import Figure

    path = make_font(folder / "OnlyCats.ttf", [CAT])
    figure = Figure()
    text = figure.text(0.5, 0.5, f"cat {CAT}")
    use_fonts([text], [str(path)])
    assert text.get_fontfamily() == ["DejaVu Sans", "OnlyCats"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(folder / "a.png")
    assert font_manager.findfont("OnlyCats") == str(path)


@pytest.mark.skipif(not hasattr(Visualizer(np.zeros((9, 9, 3))), "font_of_character"), reason="not in Detectron2")
def test_color_bitmaps_of_one_size_are_scaled_to_the_line(folder, monkeypatch):
    """Fonts of emoji have one size, 109 pixels; here a font that is refused in others."""
    truetype = ImageFont.truetype

    def only_109(path, size):
        if "Emoji" in str(path) and size != 109:
            raise OSError("invalid pixel size")
        return truetype(path, size)

    monkeypatch.setattr(ImageFont, "truetype", only_109)
    emoji = make_font(folder / "Emoji.ttf", [CAT])
    plain = make_font(folder / "Plain.ttf", [CAT])
    drawn = []
    for path in (emoji, plain):
        canvas = Visualizer(np.zeros((480, 640, 3)))
        canvas.font_of_character = {CAT: str(path)}
        drawn.append(canvas.draw_text(f"a {CAT} b", (320, 200), color="w").get_image().astype(int))
    assert drawn[0].max() > 150 and not np.array_equal(*drawn)
    assert abs(drawn[0] - drawn[1]).mean() < 0.05 * drawn[1].mean()  # the same picture but for smoothing
