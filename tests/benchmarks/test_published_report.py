"""The published report: as its figures give it, and readable in a real browser."""

import html
import itertools
import json
import pathlib
import re
import shutil
import subprocess

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("markdown")

from benchmarks import report, window

ROOT = pathlib.Path(__file__).parents[2]
PUBLISHED = ROOT / "benchmarks/results/report.html"
WIDTH = 1200
# Puts the drawings into the page itself, where their words have places, and tells them.
PROBE = """
<script>
addEventListener("load", async () => {
  const box = (each) => {
    const b = each.getBoundingClientRect();
    return [b.left, b.top, b.right, b.bottom];
  };
  const told = {pictures: [], width: document.documentElement.scrollWidth};
  told.height = document.documentElement.scrollHeight;
  told.blocks = [...document.body.children].filter(
    (each) => each.tagName != "SCRIPT").map((each) => [each.tagName, ...box(each)]);
  for (const image of document.querySelectorAll("figure img")) {
    const picture = {name: image.alt, loaded: image.naturalWidth, at: box(image)};
    const coded = image.src.split(",")[1];
    const holder = document.createElement("div");
    holder.innerHTML = atob(coded);
    document.body.append(holder);
    const svg = holder.querySelector("svg");
    picture.frame = box(svg);
    picture.words = [...svg.querySelectorAll('g[id^="text_"]')].map(box);
    picture.shapes = svg.querySelectorAll("path").length;
    holder.remove();
    told.pictures.push(picture);
  }
  const pre = document.createElement("pre");
  pre.id = "told";
  pre.textContent = JSON.stringify(told);
  document.body.append(pre);
});
</script>
"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """Runs the browser on a page; what it prints."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("looks at the report in a browser: apt install chromium")
    home = tmp_path_factory.mktemp("chromium")

    def browse(page, *options, height=1000):
        command = [program, "--headless", "--no-sandbox", "--disable-gpu"]
        command += [f"--user-data-dir={home}", "--hide-scrollbars"]
        command += ["--virtual-time-budget=20000", f"--window-size={WIDTH},{height}"]
        done = subprocess.run(
            [*command, *options, page.as_uri()],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return browse


@pytest.fixture(scope="module")
def seen(chromium, tmp_path_factory):
    """Where the browser puts what the published page holds."""
    page = tmp_path_factory.mktemp("page") / "probed.html"
    page.write_text(PUBLISHED.read_text().replace("</body>", f"{PROBE}</body>"))
    found = re.search(r'<pre id="told">(.*?)</pre>', chromium(page, "--dump-dom"), re.S)
    assert found, "the browser has not run the page's script"
    return json.loads(html.unescape(found[1]))


def overlap(one, other):
    """Pixels by which two boxes overlap, along the axis where it is less."""
    return min(
        min(one[2], other[2]) - max(one[0], other[0]),
        min(one[3], other[3]) - max(one[1], other[1]),
    )


@pytest.fixture(scope="module")
def parts():
    return json.loads(PUBLISHED.with_suffix(".json").read_text())


def test_every_drawing_is_there(seen, parts):
    drawn = sum(len(report._PARTS[name][2]) for name in parts)
    assert drawn >= 7
    assert len(seen["pictures"]) == drawn
    for picture in seen["pictures"]:
        assert picture["loaded"] > 300, picture["name"]
        assert picture["shapes"] > 20, picture["name"]
        assert len(picture["words"]) > 5, picture["name"]


def test_nothing_overlaps(seen):
    assert seen["width"] <= WIDTH
    blocks = seen["blocks"]
    for before, after in itertools.pairwise(blocks):
        assert overlap(before[1:], after[1:]) <= 1, (before, after)
    for picture in seen["pictures"]:
        words = picture["words"]
        frame = picture["frame"]
        for number, one in enumerate(words):
            inside = [one[0] - frame[0], one[1] - frame[1]]
            inside += [frame[2] - one[2], frame[3] - one[3]]
            assert min(inside) >= -1, f"{picture['name']}: a word is cut"
            for other in words[number + 1 :]:
                assert overlap(one, other) <= 2, f"{picture['name']}: words overlap"


def test_a_screenshot_shows_the_drawings(seen, chromium, tmp_path):
    from matplotlib import image

    shot = tmp_path / "page.png"
    chromium(PUBLISHED, f"--screenshot={shot}", height=seen["height"])
    pixels = image.imread(shot)
    for picture in seen["pictures"]:
        left, top, right, bottom = (round(edge) for edge in picture["at"])
        region = pixels[top:bottom, left:right, :3]
        assert region.shape[0] > 150, picture["name"]
        colours = {tuple(c) for c in (region.reshape(-1, 3) * 15).round().astype(int)}
        assert len(colours) > 10, picture["name"]
        # Mostly paper, and ink all over it.
        ink = (region.min(-1) < 0.9).mean()
        assert 0.01 < ink < 0.6, picture["name"]


def test_the_page_says_what_its_figures_say(parts, tmp_path):
    for name, part in parts.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(part))
    report.build(tmp_path)
    words = PUBLISHED.with_suffix(".md").read_text()
    assert (tmp_path / "report.md").read_text() == words
    text = PUBLISHED.read_text()
    for title, _, drawings in (report._PARTS[name] for name in parts):
        assert f"<h2>{title}</h2>" in text
        for _, caption in drawings:
            assert html.escape(caption) in text
    assert PUBLISHED.stat().st_size < 1_000_000
    assert "/work" not in text


def test_the_readme_gives_the_measured_costs_and_plots(parts):
    readme = (ROOT / "README.md").read_text()
    for line in window.rows(parts["window"]):
        assert line in readme
    for file, *_ in report._README:
        assert f"](docs/{file})" in readme
    assert "](benchmarks/results/report.md)" in readme
