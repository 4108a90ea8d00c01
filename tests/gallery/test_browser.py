"""The gallery in a real browser, opened from the disk: drawn, searched, walked through by keys, told to screen readers.

Without a browser these tests are skipped, and say so.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gallery.chromium import Page, browser
from tests.gallery.exhibits import HOSTILE, hang, picture

FOCUS = "document.activeElement.id || document.activeElement.className || document.activeElement.localName"
CARD = "document.activeElement.parentNode.index"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """One browser for all tests here."""
    with browser() as made:
        yield made


@pytest.fixture
def opened(page: Page, tmp_path: Path) -> Iterator[Page]:
    """A gallery of 2,000, the fifth made of the fourth, three of one prompt; afterwards nothing was complained of."""
    pictures = [picture(number) for number in range(2000)]
    pictures[5] = picture(5, prompt="一只猫坐在月球上", parents=["i00004", "gone"], full="./thumbs/5.png")
    pictures[6] = picture(6, prompt="一只猫坐在月球上")
    pictures[7] = picture(7, prompt="一只猫坐在月球上", thumb=None)
    page.events.clear()
    page.prefer(prefers_color_scheme="light")
    page.open(hang(tmp_path, pictures))
    yield page
    assert page.complaints() == []


def test_two_thousand_images_are_drawn_as_they_are_needed(opened: Page) -> None:
    """Only what is near the window is in the page, wherever the window is, and every image can be reached."""
    cards = "[...document.querySelectorAll('#grid > li')].map((one) => one.index)"
    first = opened.ask(cards)
    assert first[0] == 0
    assert len(first) < 100
    assert opened.ask("document.getElementById('count').textContent") == "2,000 images"
    opened.ask("scrollTo(0, document.body.scrollHeight)")
    opened.settle()
    assert opened.ask(cards)[-1] == 1999
    assert len(opened.ask(cards)) < 100
    assert opened.ask("document.querySelectorAll('#grid > li')[1].getAttribute('aria-setsize')") == "2000"
    opened.ask("scrollTo(0, 0)")
    opened.settle()
    assert opened.ask(f"JSON.stringify({cards}) === JSON.stringify({first})")
    assert opened.ask("[...document.images].filter((one) => one.src && one.complete && !one.naturalWidth).length") == 0


def test_opening_is_quick(opened: Page) -> None:
    """Generous: a page that drew all of its images would take seconds."""
    took = "performance.timing.loadEventEnd - performance.timing.navigationStart"
    assert opened.ask(took) < 5000


def test_search_finds_parts_of_words_in_any_script(opened: Page) -> None:
    shown = "document.getElementById('count').textContent"
    for words, found in (
        ("月球", "3 of 2,000 images"),
        ("FOX 199", "12 of 2,000 images"),
        ("ｆｏｘ １９９９", "1 of"),
        ("<b>", "0 of"),
    ):
        opened.press("/")
        opened.write(words)
        assert opened.ask(shown).startswith(found), words
        opened.press("Escape", "Escape")
        assert opened.ask(CARD) == 0
    assert opened.ask(shown) == "2,000 images"
    opened.ask("model.value = 'large'; model.dispatchEvent(new Event('change'))")
    assert opened.ask(shown) == "1,000 of 2,000 images"
    opened.ask("sort.value = 'largest'; sort.dispatchEvent(new Event('change'))")
    assert opened.ask("document.querySelector('#grid > li').image.id") == "i01999"
    opened.press("/")
    opened.write("nothing like it")
    assert opened.ask("!document.getElementById('nothing').hidden")


def test_keys_reach_everything(opened: Page) -> None:
    """Arrows by column and row, Home and End, Enter and Escape; the focus comes back to the image that was shown."""
    columns = opened.ask("columns")
    opened.press("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft")
    assert opened.ask(CARD) == columns + 1
    opened.press("End")
    assert opened.ask(CARD) == 1999
    box = opened.ask("document.activeElement.getBoundingClientRect().toJSON()")
    assert 0 <= box["top"] < box["bottom"] <= 860
    opened.press("Home", "ArrowUp", "ArrowLeft")
    assert opened.ask(CARD) == 0
    opened.press("Enter")
    assert opened.ask("detail.open && document.activeElement.id") == "detail-title"
    opened.press("ArrowRight", "ArrowRight")
    assert opened.ask("prompt_text = document.getElementById('prompt').textContent") == "a fox 2"
    assert opened.ask("location.hash") == "#image=i00002"
    opened.press("Escape")
    assert opened.ask("detail.open") is False
    assert opened.ask(CARD) == 2
    opened.press("?")
    assert opened.ask("help.open")
    opened.press("Escape")
    assert opened.ask(f"help.open || {CARD}") == 2


def test_tab_goes_through_the_page_in_its_order(opened: Page) -> None:
    """One stop in the grid, not two thousand; the first stop skips to it."""
    stops = []
    for _ in range(8):
        opened.press("Tab")
        stops.append(opened.ask(FOCUS))
    assert stops == ["skip", "search", "model", "sort", "theme", "language", "help-open", "card"]
    assert opened.ask("document.querySelectorAll('#grid [tabindex=\"0\"]').length") == 1


def test_everything_is_told_to_a_screen_reader(opened: Page) -> None:
    """Names and roles as the browser computes them for assistive technology; every control has a name."""
    opened.ask("open(BY_ID.get('i00005'))")
    for surface in ("detail", "compare"):
        if surface == "compare":
            opened.press("c")
        nodes = opened.call("Accessibility.getFullAXTree")["nodes"]
        told = [(one["role"]["value"], one.get("name", {}).get("value", "")) for one in nodes if not one["ignored"]]
        assert [
            one for one in told if one[0] in ("button", "link", "combobox", "searchbox", "dialog") and not one[1]
        ] == []
        assert ("dialog", "Image 6 of 2,000" if surface == "detail" else "3 images of one prompt") in told
        assert ("button", "Close") in told
    opened.press("Escape", "Escape")
    nodes = opened.call("Accessibility.getFullAXTree")["nodes"]
    told = [(one["role"]["value"], one.get("name", {}).get("value", "")) for one in nodes if not one["ignored"]]
    for wanted in (
        ("searchbox", "Search the prompts ( / )"),
        ("list", "Images"),
        ("heading", "Foxes"),
        ("button", "Help"),
    ):
        assert wanted in [(role, " ".join(name.split())) for role, name in told], wanted
    assert "main" in [role for role, _ in told]
    assert any(role == "button" and name.startswith("a fox 0") for role, name in told)


def test_an_image_tells_all_and_leads_to_its_relatives(opened: Page) -> None:
    opened.ask("open(BY_ID.get('i00005'))")
    facts = opened.ask("document.getElementById('facts').innerText")
    for word in ("large", "apiyi", "$0.04", "1.0 KB", "16 × 16", "images/i00005.png", "i00005", "main", "2026"):
        assert word in facts, word
    assert "gone (not in this gallery)" in opened.ask("document.getElementById('relatives').innerText")
    assert opened.ask("document.getElementById('full-link').getAttribute('href')") == "./thumbs/5.png"
    opened.ask("document.querySelector('#relatives button').click()")
    assert opened.ask("current.id") == "i00004"
    assert "Made from it" in opened.ask("document.getElementById('relatives').innerText")
    opened.ask("document.querySelector('#relatives button').click()")
    assert opened.ask("current.id") == "i00005"
    opened.press("c")
    assert opened.ask("compare_list = [...document.querySelectorAll('#compared li')].length") == 3
    opened.ask("document.querySelectorAll('#compared button')[1].click()")
    assert (
        opened.ask("[compare.open, detail.open, current.id].join()") == ",true,i00006"
        or opened.ask(
            "[document.getElementById('compare').open, document.getElementById('detail').open, current.id].join()"
        )
        == "false,true,i00006"
    )
    assert "archiver get i00006 -o i00006.png" in opened.ask("document.getElementById('whole').innerText")


def test_the_prompt_is_copied(opened: Page) -> None:
    opened.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    opened.ask("open(BY_ID.get('i00006'))")
    opened.press("y")
    opened.settle()
    assert opened.ask("document.getElementById('copied').textContent") == "Copied"
    assert opened.ask("navigator.clipboard.readText()") == "一只猫坐在月球上"


def test_colours_and_language_follow_the_person(opened: Page) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = opened.ask(ground)
    opened.prefer(prefers_color_scheme="dark")
    opened.settle()
    assert opened.ask(ground) != light
    opened.ask("document.getElementById('theme').click()")
    assert opened.ask(ground) == light
    opened.ask("localStorage.clear(); document.getElementById('language').click()")
    assert opened.ask("document.documentElement.lang") == "zh-CN"
    assert opened.ask("document.getElementById('count').textContent") == "2,000 张图片"
    assert opened.ask("Object.keys(WORDS.en).sort().join() === Object.keys(WORDS.zh).sort().join()")
    opened.ask("localStorage.clear()")
    opened.prefer(prefers_reduced_motion="reduce")
    assert opened.ask("getComputedStyle(document.querySelector('.card')).transitionDuration") in ("0s", "")


def test_a_phone_shows_it_without_scrolling_sideways(opened: Page) -> None:
    opened.resize(375, 700, phone=True)
    opened.settle()
    assert opened.ask("document.documentElement.scrollWidth") == 375
    assert opened.ask("columns") == 2
    opened.ask("open(BY_ID.get('i00005'))")
    assert opened.ask("detail_box = document.getElementById('detail').scrollWidth") <= 375
    small = "[...document.querySelectorAll('button')].filter((one) => one.offsetParent && one.offsetHeight < 40).length"
    assert opened.ask(small) == 0
    opened.resize(1280, 860)


def test_hostile_prompts_do_nothing(page: Page, tmp_path: Path) -> None:
    """As text in the grid, the detail and the comparison; a full image that is a script is no link."""
    pictures = [picture(number, prompt=text, key=text, model=text) for number, text in enumerate(HOSTILE)]
    pictures.append(picture(90, full="javascript:window.hacked=1", thumb=None))
    pictures += [picture(91 + number, prompt=HOSTILE[0]) for number in range(2)]
    page.events.clear()
    page.open(hang(tmp_path, pictures, title=HOSTILE[0]))
    for number, text in enumerate(HOSTILE[:7]):
        page.ask(f"open(ALL[{number}])")
        assert page.ask("document.getElementById('prompt').textContent") == text.strip()
    page.ask("open(ALL[0])")
    page.press("c")
    page.ask("document.getElementById('compare').close(); open(BY_ID.get('i00090'))")
    assert page.ask("document.querySelectorAll('a[href^=javascript]').length") == 0
    assert page.ask("window.hacked === undefined")
    assert page.ask("document.querySelectorAll('b, script').length") == 2
    assert page.complaints() == []


def test_signed_links_say_when_they_die(page: Page, tmp_path: Path) -> None:
    """While they live, and afterwards: a dead link is no link."""
    signed = "https://bucket.example.com/a.png?X-Amz-Signature=s"
    for dies, word, links in (("2999-01-01T00:00:00+00:00", "until", 1), ("2020-01-01T00:00:00+00:00", "died", 0)):
        page.open(hang(tmp_path, [picture(1, full=signed, dies=dies)], hosts=("https:",)))
        assert word in page.ask("document.getElementById('dying').textContent").lower()
        page.ask("open(ALL[0])")
        assert page.ask("document.querySelectorAll('#whole a').length") == links


def test_a_chinese_browser_reads_chinese(tmp_path: Path) -> None:
    with browser(language="zh-CN") as other:
        other.open(hang(tmp_path, [picture(1)]))
        assert other.ask("navigator.language") == "zh-CN"
        assert other.ask("document.getElementById('count').textContent") == "1 张图片"
        assert other.ask("document.getElementById('help-open').getAttribute('aria-label')") == "帮助"
        assert other.complaints() == []
