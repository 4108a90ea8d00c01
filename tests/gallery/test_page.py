"""The page as a file: strangers' texts stay data, the policy names its own scripts only, nobody's files are lost."""

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from archiver.core.errors import UsageError
from archiver.gallery import check_folder, thumbnail_name
from tests.gallery.exhibits import HOSTILE, hang, picture

CSS = Path(__file__).parents[2] / "archiver" / "gallery" / "gallery.css"


class Reader(HTMLParser):
    """What a parser of HTML sees: elements with their attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self._inside, []).append(data)

    def attribute(self, tag: str, name: str, **having: str) -> list[str]:
        """All values of an attribute of these elements."""
        return [
            str(found[name])
            for one, found in self.elements
            if one == tag and name in found and having.items() <= found.items()
        ]


def page(folder: Path, *prompts: str, **changes: object) -> Reader:
    hang(folder, [picture(number, prompt=prompt) for number, prompt in enumerate(prompts)], **changes)
    return Reader((folder / "index.html").read_text("utf-8"))


def test_hostile_texts_stay_data(tmp_path: Path) -> None:
    """No prompt ends the script it stands in or opens an element, and each comes back as it was written."""
    calm, hostile = page(tmp_path / "calm", "a"), page(tmp_path / "hostile", *HOSTILE, title="</title><b>{{script}}")
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in calm.elements]
    (data, script) = hostile.texts["script"]
    assert [row["prompt"] for row in json.loads(data)] == [text.encode("utf-8", "replace").decode() for text in HOSTILE]
    assert not re.search("[<>&\u2028\u2029]", data)
    assert script == calm.texts["script"][1]
    assert hostile.texts["h1"] == ["</title><b>{{script}}"]


def test_the_policy_allows_the_page_itself_and_no_more(tmp_path: Path) -> None:
    """The digests are those of the script and style that stand there; nothing is loaded from anywhere."""
    found = page(tmp_path, "a", hosts=("https://images.example.com",))
    (policy,) = found.attribute("meta", "content", **{"http-equiv": "Content-Security-Policy"})
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}
    for name, text in (("script-src", found.texts["script"][1]), ("style-src", found.texts["style"][0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[name] == [f"'sha256-{digest}'"]
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == ["'none'"]
    assert rules["img-src"] == ["'self'", "file:", "https://images.example.com"]
    for tag in ("script", "img", "iframe"):
        assert found.attribute(tag, "src") == []
    assert found.attribute("link", "href") == []
    assert not re.search(
        r"https?://|@import|url\(|eval\(|innerHTML", "".join(found.texts["script"] + found.texts["style"])
    )


def test_the_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """An export that breaks off leaves the page of the last one, and no part of its own."""
    hang(tmp_path, [picture(1)])
    before = (tmp_path / "index.html").read_bytes()

    def broken() -> object:
        yield picture(2)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        hang(tmp_path, broken())  # type: ignore[arg-type]
    assert (tmp_path / "index.html").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "thumbs"]


def test_nobodys_own_page_is_replaced(tmp_path: Path) -> None:
    """A new folder, an empty one and one with a gallery will do; any other is refused."""
    check_folder(tmp_path / "new")
    check_folder(tmp_path)
    hang(tmp_path / "old", [])
    check_folder(tmp_path / "old")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("<h1>my home page</h1>")
    (tmp_path / "site" / "other").mkdir()
    (tmp_path / "site" / "other" / "notes.txt").write_text("mine")
    for name in ("site", "site/other", "site/index.html"):
        with pytest.raises(UsageError):
            check_folder(tmp_path / name)


def test_every_field_of_a_picture_reaches_the_page(tmp_path: Path) -> None:
    wanted = picture(7, revised="改写", tags=["shop"], parents=["i00001"], full="../store/a%20b.png", dies=None)
    hang(tmp_path, [wanted])
    (data, _) = Reader((tmp_path / "index.html").read_text("utf-8")).texts["script"]
    assert json.loads(data) == [dataclasses.asdict(wanted)]


def test_equal_bytes_share_a_thumbnail() -> None:
    assert thumbnail_name("ab" * 32) == "thumbs/ab/" + "ab" * 16 + ".webp"


def luminance(colour: str) -> float:
    """The relative luminance of #rrggbb, by WCAG 2."""
    colour = "".join(sign * 2 for sign in colour[1:]) if len(colour) == 4 else colour[1:]
    parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("number", [0, 1])
def test_every_text_has_contrast_enough(number: int) -> None:
    """4.5 to 1 for each colour of text on each ground that it stands on, light and dark."""
    block = re.findall(r":root[^{]*\{(.*?)\}", CSS.read_text("utf-8"), re.DOTALL)[number]
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", block))
    pairs = [(ink, ground) for ink in ("ink", "faint") for ground in ("paper", "sheet", "hole")]
    for ink, ground in (*pairs, ("mark", "paper"), ("mark", "sheet"), ("warn", "warn-paper")):
        dark, light = sorted((luminance(colours[ink]), luminance(colours[ground])))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)
