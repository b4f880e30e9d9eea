from projects.documentation.links import check_links


def test_broken_links_and_anchors_are_found_and_other_sites_listed(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/index.html").write_text('<h1 id="top-1">x</h1><img src="../x.png"><a href="../a.html">a</a>')
    (tmp_path / "x.png").write_text("")
    (tmp_path / "404.html").write_text('<a href="/nowhere">x</a>')
    (tmp_path / "a.html").write_text(
        '<a href="sub/">1</a><a href="sub/index.html#top-1">2</a><a href="#here">3</a><p id="here">4</p>'
        '<a href="https://example.org/x">5</a><a href="mailto:a@example.org">6</a><img src="data:image/png;base64,x">'
        '<a href="b.html">bad</a><a href="sub/index.html#no">bad</a><a href="#no">bad</a><img src="y.png">'
        '<script src="https://example.org/x.js"></script>'
    )
    broken, external = check_links(tmp_path)
    assert broken == ["a.html: b.html", "a.html: sub/index.html#no", "a.html: #no", "a.html: y.png",
                      "a.html: loads https://example.org/x.js"]  # fmt: skip
    assert external == ["https://example.org/x", "https://example.org/x.js"]
