"""The extractor: whatever was planted in an answer is found exactly once, in order, and nothing else is.

The answers are grown by hypothesis out of carriers (how an image is written down), words between them, and decoys (what
looks like an image to a careless reader). Single rules have tests of their own below.
"""

import base64
import json
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.core.model import Json
from archiver.providers.extract import Extract, extract
from tests.data.images import png

PICTURES = [png(number + 1, 3) for number in range(6)]
SIGNED = "https://bucket.oss-us-west-1.aliyuncs.com/out/%s?Expires=1893456000&OSSAccessKeyId=LTAIx&Signature=a%%2Bb%%3D"


def found(value: Json, *, guess: bool = True) -> list[str | bytes]:
    return [seen(output.url.reveal() if output.url else output.data) for output in extract(value, guess=guess).outputs]


def seen(image: str | bytes | None) -> str | bytes:
    assert image
    return image


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def wrapped(text: str, width: int, end: str = "\n") -> str:
    return end.join(text[at : at + width] for at in range(0, len(text), width))


# --- planted, in text ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plant:
    """A piece of an answer and the image that it carries; None: a decoy."""

    text: str
    image: str | bytes | None


def _url(number: int) -> str:
    return [
        SIGNED % f"{number}.png",
        SIGNED % f"{number}",
        f"https://img.example.com/v1/{number}",
        f"http://h.example.com:8080/a/{number}.jpeg",
        f"https://h.example.com/a_({number}).webp",
        f"https://p3.volces.com/x{number}~tplv-a9.image?x=1,2;y='q'z",
        f"https://h.example.com/{number}.PNG?a=1&b=[2]",
    ][number % 7] + ("" if number < 7 else f"#{number}")


def _shown(number: int) -> str:
    """An address that says nothing of itself."""
    return f"https://r.example.com/f/{number}?t=1&u=2"


_LINKS = [
    *" {} |\n{}\n| ({}) |（{}）|：{}。| {}, | {}. | <{}> | '{}', | `{}` |**{}** |[{}]| [a link]({}) ".split("|"),
    *'| [a "link"]({} "its title") |「{}」| {}！| {}? | "{}" | {}，点击| _{}_ | &quot;{}&quot; '.split("|")[1:],
    *("| {} |", "**{}.** "),
]
_SHOWN = [
    "![]({})",
    "![a fox [sic]]({})",
    "![图]( <{}> )",
    '![x]({} "a title")',
    "<img alt='' src=\"{}\" width=3>",
    "<img src={} />",
]
_INLINE = ["![]({})", " {} ", "<img src='{}'>", "\n{}\n", "（{}）", " `{}` ", '"{}", ']
_DECOYS = [
    " see https://docs.example.com/guide/images for more ",
    " https://example.com/terms.html ",
    " [the API](https://platform.example.com/docs) ",
    "![avatar](https://h.example.com/u/1.png)",
    " ![](https://avatars.githubusercontent.com/u/7?v=4) ",
    " https://h.example.com/thumbs/1.png ",
    " data:text/plain;base64,aGVsbG8gd29ybGQsIGhlbGxvIGFnYWlu ",
    " data:image/png;base64,... ",
    " iVBORw0KGgo is how a PNG begins ",
    " https:// ",
    " ![nothing]() ",
    " 100% (1024x1024) ",
]


@st.composite
def plants(draw: st.DrawFn) -> list[Plant]:
    """Distinct images in any carriers, with decoys between."""
    numbers = draw(st.lists(st.integers(0, 40), unique=True, min_size=1, max_size=6))
    grown = [draw(planted(number)) for number in numbers]
    for _ in range(draw(st.integers(0, 4))):
        grown.insert(draw(st.integers(0, len(grown))), Plant(draw(st.sampled_from(_DECOYS)), None))
    return grown


@st.composite
def planted(draw: st.DrawFn, number: int) -> Plant:
    """Image `number` in some carrier."""
    way = draw(st.sampled_from(["link", "shown", "inline"]))
    if way == "link":
        url = _url(number)
        written = draw(
            st.sampled_from([url, url.replace("&", "&amp;"), url.replace("/", "\\/").replace("&", "\\u0026")])
        )
        return Plant(draw(st.sampled_from(_LINKS)).replace("{}", written), url)
    if way == "shown":
        url = _shown(number)
        return Plant(
            draw(st.sampled_from(_SHOWN)).replace("{}", draw(st.sampled_from([url, url.replace("&", "&amp;")]))), url
        )
    data = png(number + 1, 3)
    packed = draw(
        st.sampled_from([b64(data), b64(data).rstrip("="), wrapped(b64(data), 76), wrapped(b64(data), 64, "\r\n")])
    )
    prefix = draw(
        st.sampled_from(["data:image/png;base64,", "DATA:image/png;base64,", "data:image/png;charset=utf-8;base64,\n"])
    )
    return Plant(draw(st.sampled_from(_INLINE)).replace("{}", prefix + packed), data)


_WORDS = st.sampled_from(
    ["", "Here you are: ", "图片已生成", " and\n\n", "…", " a fox, and a hat ", "()", "1. ", "|", "* "]
)


@settings(max_examples=400, deadline=None)
@given(plants(), st.data())
def test_all_that_is_planted_in_a_text_is_found_once_and_nothing_else(grown: list[Plant], data: st.DataObject) -> None:
    text = "".join(data.draw(_WORDS) + "\n" + plant.text + "\n" for plant in grown)
    images = [plant.image for plant in grown if plant.image]
    assert found(text) == images
    words = extract(text).words
    assert all(f"[image {number}]" in words for number in range(1, len(images) + 1)) or not words
    assert found(text + "\n\n" + text) == images


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 40), unique=True, min_size=1, max_size=6), st.data())
def test_all_that_is_planted_in_json_is_found_once_and_nothing_else(numbers: list[int], data: st.DataObject) -> None:
    """In the places that the documented answers have, nested in each other's containers, beside fields that are no
    images."""
    images: list[str | bytes] = []
    items: list[Json] = []
    for number in numbers:
        raw, url = png(number + 1, 3), _shown(number)
        shapes: list[tuple[Json, str | bytes]] = [
            ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64(raw)}"}}, raw),
            ({"type": "image_url", "image_url": url}, url),
            ({"inlineData": {"mimeType": "image/png", "data": b64(raw)}, "thoughtSignature": b64(png(9, 9))}, raw),
            ({"inline_data": {"mime_type": "image/png", "data": wrapped(b64(raw), 76)}}, raw),
            ({"fileData": {"fileUri": url, "mimeType": "image/png"}}, url),
            ({"b64_json": f"data:image/png;base64,{b64(raw)}", "revised_prompt": _url(number)}, raw),
            ({"b64_json": b64(raw).rstrip("=")}, raw),
            ({"url": url, "b64_json": b64(raw), "watermark_url": _url(number)}, url),
            ({"type": "image_generation_call", "id": "ig_1", "result": b64(raw)}, raw),
            ({"text": f"![]({url})"}, url),
            ({"output": [url]}, url),
            ({"result": {"sample": url}, "polling_url": "https://api.example.com/get/1"}, url),
            ({"results": [{"url": url, "thumbnail_url": _url(number)}]}, url),
        ]
        shape, image = data.draw(st.sampled_from(shapes))
        items.append(shape)
        images.append(image)
    document: Json = {"id": "x", "input": {"image": _shown(99)}, "choices": [{"message": {"content": items}}]}
    assert found(document) == images
    assert found(items) == images
    assert found(json.dumps(items)) == images


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=80),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=30)),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
            ),
        ),
    )
)
def test_no_value_breaks_it(value: Json) -> None:
    once = extract(value)
    assert once == extract(value)
    once.words.encode()


# --- single rules ----------------------------------------------------------------------------------------------------


def test_an_answer_without_anything_is_empty() -> None:
    nothings: list[Json] = [None, "", {}, [], 3, True, {"url": None}, {"data": [None]}]
    for nothing in nothings:
        assert extract(nothing) == Extract()


def test_drafts_are_what_stands_in_a_thought() -> None:
    first, last = PICTURES[:2]
    parts: Json = [
        {"text": "a sketch", "thought": True},
        {"inlineData": {"mimeType": "image/png", "data": b64(first)}, "thought": True},
        {"inlineData": {"mimeType": "image/png", "data": b64(last)}},
    ]
    assert [output.role for output in extract(parts).outputs] == ["draft", "final"]
    assert extract(parts).words == ""


def test_the_only_url_may_be_the_image_but_two_may_not() -> None:
    assert found("Done: https://r.example.com/f/1") == ["https://r.example.com/f/1"]
    assert found("Done: https://r.example.com/f/1", guess=False) == []
    assert found("Read https://r.example.com/a and https://r.example.com/b") == []
    assert found("Read https://r.example.com/a.html") == found("At https://example.com/") == []


def test_avatars_and_thumbnails_count_only_where_nothing_else_does() -> None:
    """Somebody may have asked for avatars, and paid for them."""
    avatars = ["https://h.example.com/avatar/1.png", "https://h.example.com/avatar/2.png"]
    assert found(" ".join(avatars)) == avatars
    assert found(" ".join([*avatars, "https://h.example.com/3.png"])) == ["https://h.example.com/3.png"]


def test_a_link_that_is_shown_too_is_an_image() -> None:
    one, two = "https://r.example.com/f/1", "https://r.example.com/f/2"
    assert found(f"Done: {one}\n![]({one}) and ![]({two})") == [one, two]


def test_a_thumbnail_that_leads_to_the_image_is_not_the_image() -> None:
    text = "[![t](https://h.example.com/thumbs/a.png)](https://h.example.com/full/a.png)"
    assert found(text) == ["https://h.example.com/full/a.png"]


def test_the_same_object_signed_anew_is_one_image() -> None:
    text = f"![]({SIGNED % 'a.png'}) and ![]({(SIGNED % 'a.png').replace('1893456000', '1893456999')})"
    assert found(text) == [SIGNED % "a.png"]
    assert extract(text).words == "[image 1] and [image 1]"


def test_a_word_after_wrapped_base64_is_no_base64() -> None:
    data = PICTURES[0]
    for width in (60, 64, 76):
        text = f"data:image/png;base64,{wrapped(b64(data), width)}\nEnjoy"
        assert extract(text).words == "[image 1]\nEnjoy"
        assert found(text) == found(text + " it") == [data]
    assert found(f"data:image/png;base64,{b64(png(40, 40, bytes(range(256)) * 9))}\nEnjoy")[0] == png(
        40, 40, bytes(range(256)) * 9
    )


def test_plain_chinese_in_a_path_is_kept_and_a_sentence_is_not() -> None:
    assert found("https://h.example.com/图片/一.png 好") == ["https://h.example.com/图片/一.png"]
    assert found("https://h.example.com/a.png请下载") == ["https://h.example.com/a.png"]
    assert found("![](https://h.example.com/图)") == ["https://h.example.com/图"]


@pytest.mark.parametrize("separator", [",", ";", "|", ", ", "\n", "','", '","', "\\n", ")(", "、"])
def test_urls_in_a_row_are_several(separator: str) -> None:
    urls = [f"https://h.example.com/{number}.png" for number in range(3)]
    assert found(separator.join(urls)) == urls


@pytest.mark.parametrize("host", ["[1:2]", "[::1]:8080", "[::]", "a..b", "1.2.3.4", "-"])
def test_an_odd_host_is_for_the_fetch_to_refuse(host: str) -> None:
    assert found(f"see http://{host}/a.png ok") == [f"http://{host}/a.png"]


@pytest.mark.parametrize("text", ["https://[", "https://[::1", "https://:80/a.png", "https://u:p@h/a.png"])
def test_what_is_no_url_is_none(text: str) -> None:
    assert found(f"![]({text}) and {text}") == []


def test_another_kind_of_file_is_no_image() -> None:
    assert found([{"inlineData": {"mimeType": "audio/wav", "data": b64(bytes(64))}}]) == []
    assert found([{"fileData": {"mimeType": "video/mp4", "fileUri": "https://h.example.com/a"}}]) == []
    assert found({"video": {"url": "https://h.example.com/a.mp4"}, "audio": {"data": b64(bytes(99))}}) == []


def test_json_that_is_nested_too_deep_is_left_alone() -> None:
    value: Json = "https://h.example.com/a.png"
    for _ in range(5000):
        value = [value]
    assert found(value) == []


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece",
    [
        *"![ [ ]( <img data:image/png;base64, https://h/ https://u:p@h/ ![a]( \\/ &amp; ( ![[] '".split(),
        *("A" * 76 + "\n", "data:image/png;base64,AAAA\n", "<img src=", "https://h/" + "a" * 9000 + " "),
    ],
)
def test_hostile_repetition_is_read_in_linear_time(piece: str) -> None:
    """300 kB, for which quadratic work takes minutes and linear work a second at most: the time limit is the test."""
    assert extract(piece * (300_000 // len(piece))).outputs == ()
