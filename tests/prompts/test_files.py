"""Files of prompts: what each kind means, what is wrong with a line and where, and that what is written is read."""

import csv
import io
import json
from pathlib import PurePath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archiver.core.model import Wish
from archiver.prompts import Entry, flaw, kind_of, read, typed

FOLDER = PurePath("/srv/prompts")
# The deadline would make a slow machine a failure; what failed is printed with its seed.
always = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])

#: Text that may be a prompt; the line ends that files turn into ours are left out.
PROMPTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\0\ufeff"), min_size=1).filter(
    lambda t: not flaw(t)
)
LINES = PROMPTS.map(lambda text: text.replace("\n", " ").strip()).filter(lambda text: not flaw(text))
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters=","), min_size=1)
VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
)
WISHES = st.builds(
    Wish,
    prompt=PROMPTS,
    size=st.sampled_from([None, "2048x2048", "2K", "auto", "16:9"]),
    n=st.none() | st.integers(1, 10),
    tags=st.lists(WORDS, max_size=3).map(tuple),
    inputs=st.lists(WORDS.filter(lambda word: not word.startswith(("image:", "/", "."))), max_size=2).map(
        lambda names: tuple(str(FOLDER / name) for name in names)
    ),
    parameters=st.dictionaries(WORDS, VALUES, max_size=3),
)


def wishes(name: str, data: bytes, kind: str | None = None) -> list[Wish]:
    return [entry.wish for entry in read(name, data, folder=FOLDER, kind=kind)]


def refusal(name: str, text: str | bytes) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        read(name, text.encode() if isinstance(text, str) else text, folder=FOLDER)
    return str(caught.value)


# --- what is written is read ----------------------------------------------------------------------------------------


@always
@given(st.lists(LINES, min_size=1), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_a_text_file_gives_back_its_lines(prompts: list[str], end: str, has_mark: bool) -> None:
    """Whatever the line ends, with the mark of Windows' editors or without; a `#` in front is escaped."""
    escaped = ["\\" + prompt if prompt.lstrip("\\").startswith("#") else prompt for prompt in prompts]
    data = end.join(escaped).encode("utf-8-sig" if has_mark else "utf-8")
    assert wishes("prompts.txt", data) == [Wish(prompt=prompt) for prompt in prompts]


@always
@given(st.lists(WISHES, min_size=1, max_size=3))
def test_jsonl_gives_back_its_wishes(made: list[Wish]) -> None:
    lines = [
        {
            "prompt": wish.prompt,
            "size": wish.size,
            "n": wish.n,
            "tags": list(wish.tags),
            "inputs": [str(PurePath(name).relative_to(FOLDER)) for name in wish.inputs],
            "parameters": dict(wish.parameters),
        }
        for wish in made
    ]
    assert wishes("p.jsonl", "\n".join(map(json.dumps, lines)).encode()) == made


@always
@given(st.lists(WISHES, min_size=1, max_size=3), st.sampled_from(["csv", "tsv"]))
def test_csv_gives_back_its_wishes(made: list[Wish], kind: str) -> None:
    """Tabs, quotes, commas and newlines in prompts; parameters in a column of their own, as one JSON object."""
    text = io.StringIO(newline="")
    table = csv.writer(text, delimiter="\t" if kind == "tsv" else ",")
    table.writerow(["Prompt", "size", "N", "tags", "inputs", "parameters"])
    for wish in made:
        names = ",".join(str(PurePath(name).relative_to(FOLDER)) for name in wish.inputs)
        table.writerow(
            [
                wish.prompt,
                wish.size,
                wish.n,
                ",".join(wish.tags),
                names,
                json.dumps(wish.parameters, ensure_ascii=False),
            ]
        )
    assert wishes(f"p.{kind}", text.getvalue().encode()) == made


@always
@given(VALUES.filter(lambda value: not isinstance(value, str)))
def test_a_field_that_json_knows_has_its_type(value: object) -> None:
    assert typed(json.dumps(value)) == value and type(typed(json.dumps(value))) is type(value)


@pytest.mark.parametrize(
    "text", ["high", "007", "NaN", "-Infinity", "1e400", "True", "[1, NaN]", "", "[" * 100_000, '"\\ud83d"']
)
def test_any_other_field_is_text(text: str) -> None:
    assert typed(text) == text


# --- what each kind means -------------------------------------------------------------------------------------------


def test_comments_and_blank_lines_are_no_prompts() -> None:
    data = b"# cats\n\n  #a cat\n\\#1 cat\n\\\\#2\n a cat # not a comment \n"
    assert read("p.txt", data, folder=FOLDER) == (
        Entry("p.txt:4", Wish(prompt="#1 cat")),
        Entry("p.txt:5", Wish(prompt="\\#2")),
        Entry("p.txt:6", Wish(prompt="a cat # not a comment")),
    )


def test_a_spreadsheet_gives_each_prompt_its_own_parameters() -> None:
    """Columns that are not ours keep their spelling, and are typed; an empty field says nothing."""
    text = (
        "\ufeffPROMPT,size,n,Tags,inputs,aspectRatio,enhance,seed,word\r\n"
        '"a cat,\r\non two lines",2048x2048,2,"shop, red","a.png, image:01m7",16:9,true,7,"""42"""\r\n'
        "一只猫,,,,,,,,\r\n"
    )
    assert read("p.csv", text.encode(), folder=FOLDER) == (
        Entry(
            "p.csv:2",
            Wish(
                prompt="a cat,\non two lines",
                size="2048x2048",
                n=2,
                tags=("shop", "red"),
                inputs=("/srv/prompts/a.png", "image:01m7"),
                parameters={"aspectRatio": "16:9", "enhance": True, "seed": 7, "word": "42"},
            ),
        ),
        Entry("p.csv:4", Wish(prompt="一只猫")),
    )


def test_a_line_of_jsonl_may_be_only_the_prompt() -> None:
    data = '"a cat"\n\n{"prompt": "猫", "n": 3, "size": null}\n'.encode()
    assert wishes("p.ndjson", data) == [Wish(prompt="a cat"), Wish(prompt="猫", n=3)]


def test_the_kind_goes_by_the_name_unless_it_is_said() -> None:
    names = {"a.csv": "csv", "A.TSV": "tsv", "a.jsonl": "jsonl", "a.ndjson": "jsonl", "a.txt": "txt", "a": "txt"}
    assert {name: kind_of(name) for name in names} == names
    assert wishes("-", b"prompt,seed\na cat,1\n", "csv") == [Wish(prompt="a cat", parameters={"seed": 1})]


# --- what is wrong, and where ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.txt", "\n# nothing\n", "p.txt holds no prompt"),
        ("p.txt", "cat\n一只猫".encode("utf-16"), "p.txt is UTF-16, not UTF-8 text"),
        ("p.txt", "cat\n月球上的猫".encode("gbk"), "p.txt:2: not UTF-8 text"),
        ("p.txt", b"cat\n\ndog\0", "p.txt:3: not UTF-8 text, it holds a NUL"),
        ("p.csv", "promt,n\ncat,1\n", "p.csv:1: the first line must name the columns, and `prompt` among them"),
        ("p.csv", "prompt;n\ncat;1\n", "; it names prompt;n"),
        ("p.csv", "", "p.csv:1: the first line must name the columns"),
        ("p.csv", "prompt,seed,seed\ncat,1,2\n", "p.csv:1: the first line names `seed` twice"),
        ("p.csv", "prompt,PROMPT\ncat,dog\n", "p.csv:1: the first line names `prompt` twice"),
        ("p.csv", "prompt,n\ncat\n", "p.csv:2: 1 fields instead of 2"),
        ("p.csv", 'prompt,n\n"cat,1\n', "p.csv:2: no CSV: unexpected end of data"),
        ("p.csv", "prompt,\ncat,1\n", "p.csv:2: a field stands under a column without a name"),
        ("p.csv", "prompt,n\n,1\n", "p.csv:2: no prompt in this line"),
        ("p.csv", "prompt,n\ncat,two\n", "p.csv:2: n is not a whole number from 1 to 10"),
        ("p.csv", "prompt,n\ncat,11\n", "p.csv:2: n is not a whole number from 1 to 10"),
        ("p.csv", "prompt,size\ncat,2048*2048\n", 'p.csv:2: size is none; write "2048x2048"'),
        ("p.csv", "prompt,parameters\ncat,high\n", "p.csv:2: parameters is no JSON object"),
        ("p.jsonl", '{"prompt": "cat"', "p.jsonl:1: no JSON"),
        ("p.jsonl", '"cat"\n["cat"]', "p.jsonl:2: not a JSON object"),
        ("p.jsonl", '{"prompts": "cat"}', 'p.jsonl:1: unknown "prompts"; did you mean "prompt"?'),
        ("p.jsonl", '{"prompt": 3}', "p.jsonl:1: prompt is no text"),
        ("p.jsonl", '{"prompt": " "}', "p.jsonl:1: is an empty prompt"),
        ("p.jsonl", '{"prompt": "a\\u0000"}', "p.jsonl:1: holds a NUL"),
        ("p.jsonl", '{"prompt": "\\ud83d"}', "p.jsonl:1: no JSON: half of a surrogate pair"),
        ("p.jsonl", '{"prompt": "cat", "n": true}', "p.jsonl:1: n is not a whole number"),
        ("p.jsonl", '{"prompt": "cat", "tags": "red"}', "p.jsonl:1: tags is no list"),
        ("p.jsonl", '{"prompt": "cat", "inputs": [1]}', "p.jsonl:1: inputs holds something that is no text"),
    ],
)
def test_a_wrong_line_is_named(name: str, text: str | bytes, message: str) -> None:
    assert message in refusal(name, text)


def test_every_wrong_line_is_told_up_to_ten() -> None:
    """And none of the right ones is used: half a file is another batch than the one that was meant."""
    said = refusal("p.jsonl", '"good"\n' + "3\n" * 12).splitlines()
    assert said[0] == "p.jsonl:2: not a JSON object" and said[9].startswith("p.jsonl:11")
    assert said[10:] == ["and 2 more like these"]
