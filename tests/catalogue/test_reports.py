"""Lineage: an image is found by id, key and the words of its prompt, in any script and with any punctuation."""

import json
import random
import string
from collections.abc import Iterator

import pytest

from archiver.catalogue import Catalogue, Settlement, searching
from tests.catalogue.filling import HOUR, NOW, arrival, ask, claim_one, completed, draft, opened, receipts, safe

PROMPTS = {
    "fox": "a red fox in the snow",
    "chinese": "雪中的红色狐狸，水墨画风格",
    "cat": "猫 sits on a wall",
    "percent": "a glass filled 100% to the brim_line",
    "quotes": "a sign that says \"OPEN\" and 'closed'",
    "operators": "cats OR dogs NEAR(the river) AND NOT -birds* ^first c++",
    "backslash": r"C:\temp\new folder",
    "emoji": "🦊🦊 family portrait",
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    """One stored image for each prompt, each in two stores."""
    catalogue = opened(tmp_path_factory.mktemp("archive"))
    for number, (name, prompt) in enumerate(PROMPTS.items()):
        completed(catalogue, arrival(name), number=name, prompt=prompt, created_at=NOW + number * HOUR)
        catalogue.images.settle([safe(claim_one(catalogue))], NOW + number * HOUR)
    yield catalogue
    catalogue.close()


def found(catalogue: Catalogue, question: str, **options: int) -> list[str]:
    """The prompts that a question finds, newest first, each once."""
    names = {f"i{name}": name for name in PROMPTS}
    return list(dict.fromkeys(names[row["image_id"]] for row in catalogue.reports.lineage(question, **options)))


@pytest.mark.parametrize("question", ["ifox", "gfox", "images/ifox.png"])
def test_lineage_by_image_generation_and_key(archive: Catalogue, question: str) -> None:
    """One row per confirmed copy, with all that design and bucket say of it."""
    rows = archive.reports.lineage(question)
    assert [(row["image_id"], row["store"]) for row in rows] == [("ifox", "here"), ("ifox", "there")]
    row = rows[0]
    assert (row["prompt"], row["provider"], row["model"], row["key"]) == (
        PROMPTS["fox"],
        "apiyi",
        "nano",
        "images/ifox.png",
    )
    assert (row["size"], row["content_type"], row["width"], row["height"]) == (68, "image/png", 8, 6)


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("fox", ["fox"]),
        ("FOX", ["fox"]),
        ("red snow", ["fox"]),
        ("snow  red", ["fox"]),
        ("red heron", []),
        ("ed fo", ["fox"]),
        ("猫", ["cat"]),
        ("狐狸", ["chinese"]),
        ("红色狐", ["chinese"]),
        ("水墨画风格", ["chinese"]),
        ("雪 狐狸 水墨画", ["chinese"]),
        ("狸狐", []),
        ("水墨风格", []),
        ("猫 wall", ["cat"]),
        ("100%", ["percent"]),
        ("0%", ["percent"]),
        ("%", ["percent"]),
        ("_", ["percent"]),
        ("brim_line", ["percent"]),
        ("brimXline", []),
        ("m_", ["percent"]),
        ('"OPEN"', ["quotes"]),
        ('"', ["quotes"]),
        ('says "OPEN', ["quotes"]),
        ("'closed'", ["quotes"]),
        ("OR", ["emoji", "operators"]),
        ("cats OR dogs", ["operators"]),
        ("fox OR dogs", []),
        ("NEAR(the", ["operators"]),
        ("-birds*", ["operators"]),
        ("bird*", []),
        ("^first", ["operators"]),
        ("-", ["operators"]),
        ("c++", ["operators"]),
        ("prompt:fox", []),
        ("\\", ["backslash"]),
        ("\\t", ["backslash"]),
        (r"C:\temp\new", ["backslash"]),
        ("🦊", ["emoji"]),
        ("🦊🦊", ["emoji"]),
        ("", []),
        ("   ", []),
        ("fox\0", ["fox"]),
        ("red\0snow", ["fox"]),
        ("fo", ["backslash", "fox"]),
    ],
)
def test_lineage_by_words(archive: Catalogue, question: str, names: list[str]) -> None:
    """Every word must be in the prompt, as it stands: no operator, no wildcard, and Chinese words of any length."""
    assert found(archive, question) == names


def test_words_find_the_newest_first_and_at_most_so_many_rows(archive: Catalogue) -> None:
    assert found(archive, "a") == ["emoji", "operators", "quotes", "percent", "cat", "fox"]
    assert len(archive.reports.lineage("a", limit=3)) == 3
    assert len(archive.reports.lineage("ifox", limit=1)) == 1


def test_short_words_are_looked_for_in_the_newest_prompts_and_that_is_said(
    archive: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words that the index knows are found however old they are."""
    monkeypatch.setattr(searching, "FIRST_LOOK", 2)
    monkeypatch.setattr(searching, "BOUND", 4)
    rows, looked_at = archive.reports.lineage_of("fo")
    assert ({row["image_id"] for row in rows}, looked_at) == ({"ibackslash"}, 4)
    rows, looked_at = archive.reports.lineage_of("fo", deep=True)
    assert ({row["image_id"] for row in rows}, looked_at) == ({"ibackslash", "ifox"}, None)
    rows, looked_at = archive.reports.lineage_of("fox")
    assert ({row["image_id"] for row in rows}, looked_at) == ({"ifox"}, None)


def test_any_text_is_a_question(archive: Catalogue) -> None:
    """Random strings of operators, quotes, control characters, Chinese, and halves of characters never raise."""
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    alphabet = string.printable + "\"'*()-^:{}%_\\" * 4 + "\0\ud800\udcff\u202e\ufeff猫狐狸雪🦊éİß"
    words = ["OR", "AND", "NOT", "NEAR(", "NEAR(a b, 3)", "prompt:", '"', "*", "- ", "^"]
    for _ in range(1500):
        text = "".join(
            chance.choice(words) if chance.random() < 0.2 else chance.choice(alphabet)
            for _ in range(chance.randrange(25))
        )
        assert isinstance(archive.reports.lineage(text), list)


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_a_very_long_question_is_a_question(archive: Catalogue, length: int) -> None:
    """Somebody pastes a whole page: thousands of different words."""
    words = [chr(0x4E00 + number) * length for number in range(5000)]
    assert archive.reports.lineage(" ".join(words)) == []


def test_a_whole_prompt_finds_itself(archive: Catalogue) -> None:
    for name, prompt in PROMPTS.items():
        assert name in found(archive, prompt)


def test_only_confirmed_copies_are_lineage(catalogue: Catalogue) -> None:
    completed(catalogue, arrival())
    assert catalogue.reports.lineage("i0") == []
    ticket = claim_one(catalogue)
    catalogue.images.settle([Settlement(ticket=ticket, receipts=receipts(ticket, ["there"]), error="here: down")], NOW)
    assert [row["store"] for row in catalogue.reports.lineage("i0")] == ["there"]


def test_cost_is_shared_by_the_images_of_a_generation(catalogue: Catalogue) -> None:
    """And an unknown cost stays unknown: never 0."""
    for number, cost in (("paid", 240_000), ("unknown", None)):
        catalogue.generations.add([draft(number, n=3)], NOW)
        assert catalogue.generations.begin_submit("apiyi", "me", NOW)
        arrivals = [arrival(f"{number}{index}", index=index) for index in range(3)]
        catalogue.generations.complete(f"g{number}", arrivals, answered_at=NOW, now=NOW, cost_micro=cost)
    tickets = catalogue.images.claim("worker", NOW, HOUR, limit=6)
    said = catalogue.records.of([ticket.image_id for ticket in tickets])
    catalogue.images.settle([safe(ticket) for ticket in tickets], NOW)
    for image in ("ipaid0", "ipaid2"):
        assert [row["cost_usd"] for row in catalogue.reports.lineage(image)] == [0.08, 0.08]
        assert said[image]["cost_usd"] == 0.08
    assert catalogue.reports.lineage("iunknown0")[0]["cost_usd"] is None
    assert ask(catalogue, "select sum(cost_usd), sum(generations) from spend") == [(0.24, 2)]


def test_lineage_record_says_what_the_view_says(archive: Catalogue) -> None:
    """Bucket and catalogue tell the same story of an image, column by column."""
    row = archive.reports.lineage("ifox")[0]
    record = archive.records.of(["ifox", "nobody"])
    assert set(record) == {"ifox"}
    told = set("store key sha256 size archived_at".split())
    assert record["ifox"] == {
        **{name: value for name, value in row.items() if name not in told},
        **{name: json.loads(row[name]) for name in ("tags", "parameters", "inputs")},
        **{name: record["ifox"][name] for name in ("generation", "image", "kin")},
    }
