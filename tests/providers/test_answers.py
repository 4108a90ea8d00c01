"""Answers in the OpenAI Images dialect: where an image can hide, and what may be said when there is none."""

import base64
import json
import re

import pytest

from archiver.core.errors import Corrupt, Permanent
from archiver.core.model import Completed
from archiver.core.tempurl import TemporaryURL
from archiver.providers import answers
from tests.providers.paid import KEY, SIGNED

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(255))  # a length whose base64 ends with padding
BASE64 = base64.b64encode(PNG).decode()
FOLDED = "\r\n".join(BASE64[i : i + 76] for i in range(0, len(BASE64), 76)) + "\n"


def read(*items: object, **more: object) -> Completed:
    return answers.images(answers.parse(json.dumps({"data": list(items), **more}).encode()))


@pytest.mark.parametrize(
    "text",
    [
        BASE64,
        FOLDED,
        BASE64.rstrip("="),
        f"data:image/png;base64,{BASE64}",
        f"data:image/jpeg;charset=utf-8;base64,{FOLDED}",
        f"DATA:;BASE64,\n{BASE64}",
    ],
)
@pytest.mark.parametrize("field", ["b64_json", "url"])
def test_inline_bytes_are_found_in_every_wrapping(field: str, text: str) -> None:
    """Raw base64 in `url` is the one form that is not accepted: it is no URL."""
    if field == "url" and not text.lower().startswith("data:"):
        with pytest.raises(Permanent, match="item 0 has a url that is none"):
            read({field: text})
        return
    (output,) = read({field: text}).outputs
    assert (output.index, output.data, output.url) == (0, PNG, None)


def test_an_escaped_ampersand_is_decoded_so_that_the_signature_holds() -> None:
    body = b'{"data": [{"url": "' + SIGNED.replace("&", "\\u0026").encode() + b'"}]}'
    assert b"\\u0026" in body
    assert answers.images(answers.parse(body)).outputs[0].url == TemporaryURL(SIGNED)


def test_a_url_that_was_escaped_twice_is_repaired() -> None:
    assert read({"url": SIGNED.replace("&", "\\u0026")}).outputs[0].url == TemporaryURL(SIGNED)


def test_each_item_is_judged_alone_and_keeps_its_position() -> None:
    """A mixed answer of seven items gives the three images in it, numbered by where they stood."""
    found = read(
        {"url": "ftp://host/a.png"},
        {"url": SIGNED, "revised_prompt": "a fox \ud83d"},
        None,
        {"url": "", "b64_json": BASE64},
        {"b64_json": "not base64!"},
        {"url": "nonsense", "b64_json": BASE64, "revised_prompt": 7},
        {"task_id": "t-1", "status": "submitted"},
    )
    assert [output.index for output in found.outputs] == [1, 3, 5]
    assert [output.revised_prompt for output in found.outputs] == ["a fox ?", None, None]
    assert [output.data for output in found.outputs] == [None, PNG, PNG]


def test_fewer_images_than_asked_for_are_a_result() -> None:
    assert len(read({"url": SIGNED}).outputs) == 1


@pytest.mark.parametrize(
    ("more", "request_id"),
    [({"id": "a"}, "a"), ({"request_id": "b"}, "b"), ({"id": 3, "request_id": ""}, None), ({}, None)],
)
def test_the_request_id_is_kept_when_it_is_a_name(more: dict[str, object], request_id: str | None) -> None:
    assert read({"url": SIGNED}, **more).request_id == request_id


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "no data"),
        ({"data": None}, "no data"),
        ({"data": []}, "no data"),
        ({"data": "x"}, "no data"),
        ({"data": {"url": SIGNED}}, "no data"),
        ({"data": [{}, {"url": "", "b64_json": None}]}, "item 0 has neither url nor b64_json; item 1 has neither"),
        ({"data": [{"b64_json": "=="}]}, "item 0 has broken base64"),
        ({"data": [{"b64_json": "iVBO!!!!Rw0K"}]}, "item 0 has broken base64"),
        ({"data": [{"b64_json": "data:image/png;base64,"}]}, "item 0 has broken base64"),
        ({"data": [[]]}, "item 0 is no object"),
        ({"data": [{"task_id": "t"}]}, "item 0 names a task instead of an image"),
        ({"data": [], "error": {"message": "blocked by\nmoderation", "code": "x"}}, "blocked by moderation"),
        ({"error": {"code": "moderation_blocked"}}, "moderation_blocked"),
        ({"error": "no"}, "no"),
        ({"message": "try later"}, "try later"),
        ({"detail": "not served"}, "not served"),
    ],
)
def test_a_complete_answer_without_an_image_says_why(document: dict[str, object], words: str) -> None:
    with pytest.raises(Permanent, match=f"^answered without images: {re.escape(words)}"):
        answers.images(document)


@pytest.mark.parametrize(
    "body",
    [
        *[
            b"",
            b"  \n",
            b"<html>bad gateway</html>",
            b"[]",
            b"null",
            b'"x"',
            b"\xff\xfe\x00",
            b'{"data": [{"url": "https:',
        ],
        *[b'{"created": NaN}', b'{"x": Infinity}', b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b"{} {}"],
    ],
)
def test_what_is_no_complete_json_object_is_corrupt(body: bytes) -> None:
    with pytest.raises(Corrupt, match=r"^the answer is"):
        answers.parse(body)


def test_a_byte_order_mark_is_no_reason_to_lose_an_image() -> None:
    assert answers.parse(b'\xef\xbb\xbf{"data": null}') == {"data": None}


@pytest.mark.parametrize(
    ("document", "task"),
    [
        ({"task_id": "t-1"}, "t-1"),
        ({"task_id": "t-1", "data": []}, "t-1"),
        ({"task_id": "t-1", "data": [{"url": SIGNED}]}, None),
        ({"task_id": "t-1", "result": {"data": [{"url": SIGNED}]}}, None),
        ({"task_id": "t-1", "result": None}, "t-1"),
        ({"data": []}, None),
        ({"task_id": 5}, None),
    ],
)
def test_a_task_is_recognised_by_its_id_and_the_absence_of_data(document: dict[str, object], task: str | None) -> None:
    assert answers.task_id(document) == task


def test_the_result_of_a_finished_task_is_read_like_an_answer() -> None:
    found = answers.images({"task_id": "t-1", "status": "completed", "result": {"data": [{"url": SIGNED}]}})
    assert found.outputs[0].url == TemporaryURL(SIGNED)


@pytest.mark.parametrize(
    ("words", "cleaned"),
    [
        (f"bad key {KEY}!", "bad key [redacted]!"),
        ("Incorrect API key provided: sk-abcd***wxyz.", "Incorrect API key provided: [redacted]"),
        ("Authorization: Bearer abc.def", "Authorization: [redacted]"),
        (f"cannot fetch {SIGNED} now", "cannot fetch https://bucket.oss-cn-beijing.aliyuncs.com/[redacted] now"),
        ("at https://user:pass@host/x", "at https://host/[redacted]"),
        ("id LTAI5tExample", "id [redacted]"),
        ("hash " + "ab12" * 16, "hash [redacted]"),
        ("a\x00b\x1b[31m\r\n\u202ec", "a b [31m c"),
        ("request id 0193-77aa-bb", "request id 0193-77aa-bb"),
    ],
)
def test_foreign_words_lose_their_secrets(words: str, cleaned: str) -> None:
    assert answers.clean(words) == cleaned


def test_a_secret_of_any_shape_is_taken_out_before_the_text_is_cut() -> None:
    """Cutting first would leave the beginning of a secret that straddles the limit."""
    secret = "hunter two"
    text = answers.clean("x" * 7 + " y" * 92 + " " + secret + " z" * 100, secret)
    assert len(text) == answers.MESSAGE_LIMIT
    assert "hun" not in text


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "no ' + KEY.encode() + b'"}}', "no [redacted]"),
        (b"<!doctype html><title>502</title>", "a web page"),
        (b"upstream\xff died", "upstream\ufffd died"),
        (b"", ""),
        (b"{}", ""),
    ],
)
def test_a_complaint_is_what_the_error_body_says(body: bytes, words: str) -> None:
    assert answers.complaint(body, KEY) == words
