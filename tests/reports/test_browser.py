"""The page in a real browser: clicked through, on a laptop and a phone, light and dark.

With HARMONY_PAGE and HARMONY_PICTURE (make picture), takes the picture of a page of yours.
"""

import os
import shutil
from pathlib import Path

import pytest
from folders import made_up_study, quality_folder, run_folder
from playwright.sync_api import sync_playwright

from harmony.reports import report_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SIZES = {"laptop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
PATIENCE = 120_000  # ms: beside other work 30 s are too few for a picture of a long page


@pytest.fixture(scope="module")
def browser():
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no chromium or chrome on this machine, and `make browser` could not install one")
    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    for seed in (1, 2):
        run_folder(root, seed)
    report_page([root / "made_up"], root / "report.html")
    return root / "report.html"


@pytest.fixture
def opened(browser, path, request):
    """The page, and a list of everything that it should not do."""
    size, scheme = request.param
    page = browser.new_page(viewport=SIZES[size], color_scheme=scheme)
    bad = watch(page)
    page.goto(path.as_uri())
    yield page
    page.close()
    assert bad == []


@pytest.fixture
def quality(browser, tmp_path, request):
    page = browser.new_page(viewport=SIZES[request.param])
    bad = watch(page)
    page.goto(quality_folder(tmp_path).as_uri())
    yield page
    page.close()
    assert bad == []


def watch(page):
    page.set_default_timeout(PATIENCE)
    bad = []
    page.on("console", lambda message: bad.append(message.text))
    page.on("pageerror", lambda error: bad.append(str(error)))
    page.on("request", lambda each: bad.append(each.url) if not each.url.startswith(("data:", "file:")) else None)
    return bad


EVERYWHERE = pytest.mark.parametrize(
    "opened", [(size, scheme) for size in SIZES for scheme in ("light", "dark")], indirect=True, ids="-".join
)


@pytest.mark.parametrize("opened", [("laptop", "light"), ("phone", "dark")], indirect=True, ids="-".join)
def test_every_view_opens_and_none_is_wider_than_the_screen(opened, tmp_path):
    for kind in ("group", "metric-3", "domain"):  # the last group is open after the first turn
        buttons = opened.locator(f"[data-show={kind}]")
        assert buttons.count() > 1
        for k in range(buttons.count()):
            buttons.nth(k).click()
            name = buttons.nth(k).get_attribute("data-name")
            assert opened.locator(f"[data-kind={kind}]:visible").count() == 1
            assert opened.locator(f"[data-kind={kind}][data-name='{name}']").is_visible()
            assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for details in opened.locator("details:visible").all():
        details.locator("summary").click()
    assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    broken = "[...document.images].filter(image => image.complete && !image.naturalWidth).length"
    assert opened.evaluate(broken) == 0
    opened.screenshot(path=tmp_path / "page.png", full_page=True, timeout=PATIENCE)
    assert (tmp_path / "page.png").stat().st_size > 20_000


@pytest.mark.parametrize("size", SIZES)
def test_no_words_of_a_chart_lie_over_others(size, browser, tmp_path):
    """Two configurations, which makes the names of the methods long."""
    for steps in (1, 2):
        run_folder(tmp_path, 1, f"method.blindharmony.solver.iterations={steps}", name=f"seed1-0000000{steps}")
    report_page([tmp_path / "made_up"], tmp_path / "report.html")
    opened = browser.new_page(viewport=SIZES[size])
    opened.goto((tmp_path / "report.html").as_uri())
    opened.evaluate("for (const part of document.querySelectorAll('[data-kind]')) part.hidden = false")
    assert opened.locator("svg text:visible").count() > 50
    assert opened.evaluate(COLLISIONS) == []
    opened.close()


COLLISIONS = """() => [...document.querySelectorAll("svg")].flatMap(svg => {
  const words = [...svg.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect()]);
  const over = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2;
  return words.flatMap(([one, a], k) =>
    words.slice(k + 1).filter(([, b]) => a.width && over(a, b)).map(([two]) => [one, two]));
})"""


@pytest.mark.parametrize("opened", [("phone", "light")], indirect=True, ids="-".join)
def test_everything_can_be_read_without_a_mouse(opened):
    """No words in `title=`; a cell's and a chart's numbers open by key and by touch."""
    assert opened.locator("[title]").count() == 0
    cell = opened.locator(".cell:visible").first
    cell.locator("summary").focus()
    opened.keyboard.press("Enter")
    assert "n = 3" in cell.inner_text()
    numbers = opened.locator("figure details:visible").first
    numbers.locator("summary").click()
    assert "sub-1" in numbers.inner_text()


@EVERYWHERE
def test_words_can_be_read_in_either_scheme(opened):
    """WCAG AA: at least 4.5 between text and ground, for running text, small text and the marks of a chip."""
    for selector in ("h1", ".soft", ".scores td small", "nav a", ".chips button[aria-pressed=true]", "svg text.small"):
        assert opened.locator(selector).first.evaluate(CONTRAST) >= 4.5, selector


CONTRAST = """element => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (text) => { const [r, g, b] = channels(text).map(v => v / 255).map(
    v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  let ground = element;
  while (channels(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
  const own = getComputedStyle(element), words = element.namespaceURI.endsWith("svg") ? own.fill : own.color;
  const pair = [light(words), light(getComputedStyle(ground).backgroundColor)].sort((a, b) => b - a);
  return (pair[0] + 0.05) / (pair[1] + 0.05);
}"""


@pytest.mark.parametrize("opened", [("laptop", "light")], indirect=True)
def test_the_images_can_be_clicked_through(opened):
    viewer = opened.locator(".viewer:visible")
    thumbs = viewer.locator(".thumb")
    seen = set()
    for k in range(thumbs.count()):
        thumbs.nth(k).click()
        assert viewer.locator(".tag.right").inner_text() == thumbs.nth(k).get_attribute("data-name")
        assert viewer.locator(".under").get_attribute("src") == thumbs.nth(k).locator(".image").get_attribute("src")
        seen.add((viewer.locator(".under").get_attribute("src"), viewer.locator(".change").get_attribute("src")))
    assert len(seen) == thumbs.count() == 4
    viewer.locator("[data-left=truth]").click()
    assert viewer.locator(".over").get_attribute("src") == viewer.get_attribute("data-truth")
    clip = "element => getComputedStyle(element).clipPath"
    before = viewer.locator(".over").evaluate(clip)
    viewer.locator("input").fill("20")
    assert viewer.locator(".over").evaluate(clip) not in (before, "none")
    viewer.locator(".stage").first.click()
    assert viewer.locator("input").input_value() == "100"
    viewer.locator(".stage").first.click()
    assert viewer.locator("input").input_value() == "0"


@pytest.mark.parametrize("quality", SIZES, indirect=True)
def test_the_quality_page_leads_to_every_scan_and_is_no_wider_than_the_screen(quality):
    names = [link.inner_text() for link in quality.locator(".overview a").all()]
    assert names == ["alone_T1w", "much_T1w", "little_T1w"]
    for link in quality.locator(".overview a").all():
        link.click()
        assert quality.locator(f"h3[id='{link.inner_text()}']").is_visible()
    for details in quality.locator("details").all():
        details.locator("summary").click()
    assert quality.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert quality.evaluate(CUT) == []
    assert quality.evaluate("[...document.images].every(image => image.naturalWidth > 0)")


@pytest.mark.parametrize("size", SIZES)
def test_the_page_of_a_study_is_no_wider_than_the_screen_and_nothing_of_it_is_cut(size, browser, tmp_path):
    page = browser.new_page(viewport=SIZES[size])
    bad = watch(page)
    page.goto(made_up_study(tmp_path).as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate(CUT) == []
    assert page.evaluate(BROKEN) == []
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    page.close()
    assert bad == []


# A word of a table in more than one line.
BROKEN = """() => [...document.querySelectorAll("td, th")].filter(cell => cell.firstChild?.data).flatMap(cell =>
  [...cell.firstChild.data.matchAll(/\\S+/g)].filter(word => {
    const range = document.createRange();
    range.setStart(cell.firstChild, word.index);
    range.setEnd(cell.firstChild, word.index + word[0].length);
    return range.getClientRects().length > 1;
  }).map(word => word[0]))"""

# What reaches beyond the screen, or beyond its own box, and cannot be scrolled to.
CUT = """() => [...document.querySelectorAll("body *")].filter(element => {
  if (element.closest(".wide, .scroll, pre") && !element.matches(".wide, .scroll, pre")) return false;
  const style = getComputedStyle(element), box = element.getBoundingClientRect();
  const over = style.display !== "inline" && element.scrollWidth > element.clientWidth + 1;
  const hidden = over && style.overflowX !== "auto";
  return box.width && (box.left < 0 || box.right > window.innerWidth || (hidden && element.clientWidth));
}).map(element => element.outerHTML.slice(0, 80))"""


@pytest.mark.skipif("HARMONY_PAGE" not in os.environ, reason="HARMONY_PAGE names no page")
def test_takes_the_picture_of_a_page(browser):
    """From the title down to the images."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    bad = watch(page)
    page.goto(Path(os.environ["HARMONY_PAGE"]).as_uri())
    box = page.locator(".viewer:visible").first.bounding_box()
    clip = {"x": 0, "y": 0, "width": 1280, "height": box["y"] + box["height"] + 24}
    page.screenshot(path=os.environ["HARMONY_PICTURE"], full_page=True, clip=clip, timeout=PATIENCE)
    assert bad == []
