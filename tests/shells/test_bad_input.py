"""What the outside does wrong, from outside: providers that answer nonsense and sources that do not give their images.

Each time the command says clearly what happened, exits with 1, keeps the row in its place and archives the rest; and
what may have been paid is never asked for twice.
"""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.http1 import Request
from tests.doubles.pngs import png
from tests.doubles.provider import ImagesProvider, Mishap
from tests.doubles.source import ImageSource
from tests.world import World, file_section

PAGE = b"<!DOCTYPE html><html><body>Bad gateway, sorry</body></html>"
RETRY_LATER = {"Retry-After": "3600"}

# Prompt: what happens to its request, the state of its row, and words of the message.
ANSWERS: dict[str, tuple[Mishap | None, str, str]] = {
    "a web page": (Mishap(body=PAGE), "unknown", "the answer is a web page"),
    "nothing at all": (Mishap(body=b""), "unknown", "the answer is empty"),
    "half of the JSON": (Mishap(truncated=True), "unknown", "no complete JSON"),
    "data is null": (Mishap(data_null=True), "failed", "without images"),
    "an empty list": (Mishap(images=0), "failed", "without images"),
    "urls are null": (Mishap(url_null=True), "failed", "neither url nor b64_json"),
    "two of three": (Mishap(images=2), "completed", ""),
    "status 400": (Mishap(status=400), "failed", "answered 400"),
    "status 500": (Mishap(status=500, charged=True), "unknown", "answered 500"),
    "status 503": (Mishap(status=503), "unknown", "answered 503"),
    # Between them: five such answers in a row would close the gate of the provider.
    "all is well": (None, "completed", ""),
    "cut before": (Mishap(cut="before"), "unknown", "no answer came"),
    "cut after": (Mishap(cut="after"), "unknown", "no answer came"),
    "cut midway": (Mishap(cut="midway"), "unknown", "broke off"),
    "月球上 all is well": (None, "completed", ""),
    # Taken last: its Retry-After closes the gate of the whole provider, and who comes later is not asked in this run.
    "status 429": (Mishap(status=429, headers=RETRY_LATER), "planned", "answered 429"),
}
CHARGED = {prompt for prompt, (mishap, _, _) in ANSWERS.items() if mishap is None or mishap.status == 200} - {
    "cut before"
}
ARRIVED = {
    "a web page": PAGE,
    "nothing at all": b"",
    "half of the JSON": b'{"created"',
    "data is null": b'"data": null',
}
ARRIVED |= {"an empty list": b'"data": []', "urls are null": b'"url": null', "cut midway": b'{"created"'}


def job(prompts: list[str], *, name: str = "cats", n: int = 1, stores: str = '["main"]') -> str:
    """A job that is due at once."""
    listed = json.dumps(prompts, ensure_ascii=False)
    head = f'[[jobs]]\nname = "{name}"\nschedule = "every 1h"\nprovider = "double"\n'
    return f"{head}stores = {stores}\nn = {n}\nprompts = {listed}\n"


def prompt_of(request: Request) -> str:
    return str(json.loads(request.body)["prompt"])


@pytest.fixture
def provider() -> Iterator[ImagesProvider]:
    with ImagesProvider() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "user")


def generations(world: World) -> dict[str, dict[str, Any]]:
    return {row["prompt"]: row for row in world.sql("select * from generations")}


def images(world: World) -> dict[str, dict[str, Any]]:
    return {
        row["prompt"]: row
        for row in world.sql("select g.prompt, i.* from images as i join generations as g on g.id = i.generation_id")
    }


# --- providers ------------------------------------------------------------------------------------------------------


def test_no_answer_of_a_provider_stops_the_others_or_is_paid_twice(
    world: World, provider: ImagesProvider, tmp_path: Path
) -> None:
    """Sixteen prompts of one run, each answered in its own way; a second run asks again only what was free."""
    provider.script(lambda request: ANSWERS[prompt_of(request)][0])
    world.configure(file_section("main", tmp_path / "archive") + job(list(ANSWERS), n=3), provider=provider)
    first = world.run("run", "--once")
    assert first.returncode == 1, first.stderr
    assert "8 images archived, 0 lost" in first.stderr
    rows = generations(world)
    for prompt, (_, state, words) in ANSWERS.items():
        row = rows[prompt]
        assert (prompt, row["state"]) == (prompt, state)
        if words:
            line = next(line for line in first.stderr.splitlines() if str(row["id"]) in line)
            assert line.startswith(f"{state} generation ") and words in line
            assert words in row["error"]
    assert first.stdout == ""
    assert sorted(charge.prompt for charge in provider.charges) == sorted({*CHARGED, "status 500"})
    _assert_odd_answers_are_kept(world, rows)

    asked = len(provider.requests)
    second = world.run("run", "--once")
    assert second.returncode == 1 and rows["status 429"]["id"] in second.stderr
    assert (len(provider.requests), len(provider.charges)) == (asked, len(CHARGED) + 1)
    assert generations(world) == rows

    status = world.run("status", "--json")
    assert status.returncode == 1, "an outcome that nobody knows is still to be told"
    (standing,) = json.loads(status.stdout)
    unknown = sum(state == "unknown" for _, state, _ in ANSWERS.values())
    assert standing["unknown_generations"] == standing["generations"]["unknown"] == unknown


def _assert_odd_answers_are_kept(world: World, rows: dict[str, dict[str, Any]]) -> None:
    """What came is there for a person to read, for nobody else's eyes; what was understood is gone."""
    kept = {path.name: path for path in (world.folder / "data" / "inbox").iterdir()}
    assert set(kept) == {f"{rows[prompt]['id']}.odd" for prompt in ARRIVED}
    for prompt, body in ARRIVED.items():
        path = kept[f"{rows[prompt]['id']}.odd"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        head, _, rest = path.read_bytes().partition(b"\n")
        assert json.loads(head)["status"] == 200
        assert body in rest and bool(body) == bool(rest)


def test_fewer_images_than_asked_for_are_archived_and_said(
    world: World, provider: ImagesProvider, tmp_path: Path
) -> None:
    """Two of three come: both are archived, the shortfall is told and remembered, and the exit code is 1."""
    provider.script([Mishap(images=2)])
    world.configure(file_section("main", tmp_path / "archive"), provider=provider)
    done = world.run("generate", "three cats", "-n", "3", "--json")
    rows = json.loads(done.stdout)
    assert len(rows) == 2
    (story,) = world.rows("show", rows[0]["image_id"])
    assert [(event["kind"], event["detail"]) for event in story["events"]] == [("short", "2 of 3 images came")]
    assert "2 images archived, 0 lost" in done.stderr
    assert f"short generation {rows[0]['generation_id']}: 2 of 3 images came" in done.stderr
    assert done.returncode == 1


def test_what_cost_nothing_is_asked_again_when_the_provider_is_back(
    world: World, provider: ImagesProvider, tmp_path: Path
) -> None:
    """Connection refused: nothing is charged, the tick keeps its prompt; `--wait` sits out the pause, also of a 429."""
    world.configure(file_section("main", tmp_path / "archive") + job(["a cat"]), provider=provider)
    provider.down()
    done = world.run("run", "--once")
    assert done.returncode == 1
    (row,) = world.sql("select id, state, error from generations")
    assert row["state"] == "planned"
    assert f"planned generation {row['id']}: the request was not sent: Connection refused" in done.stderr
    assert provider.charges == []
    provider.script([Mishap(status=429, headers={"Retry-After": "1"})])
    provider.up()
    later = world.run("run", "--once", "--wait", "1m")
    assert later.returncode == 0, later.stderr
    assert "1 image archived, 0 lost" in later.stderr
    assert [charge.prompt for charge in provider.charges] == ["a cat"]
    assert world.sql("select state, attempts from generations") == [{"state": "completed", "attempts": 3}]


# --- sources --------------------------------------------------------------------------------------------------------

# Prompt: how its source answers at first, and words of the message.
SOURCES: dict[str, tuple[dict[str, Any], str]] = {
    "not found": ({"status": 404}, "the source answered 404 NoSuchKey"),
    "expired": ({"status": 403}, "the source answered 403 AccessDenied (the reply speaks of expiry)"),
    "a page": ({"html": True}, "a web page came instead of an image"),
    "cut short": ({"cut": 100}, "cut short after 100 bytes"),
    "wrong digest": ({"md5": "wrong"}, "content-md5"),
    "too busy": ({"status": 500}, "the source answered 500"),
}


def test_a_source_that_gives_no_image_is_tried_again_later(
    world: World, provider: ImagesProvider, tmp_path: Path
) -> None:
    """Each image stays pending with its own error while the others are archived; `drain` brings it home later."""
    picture = {prompt: png(prompt) for prompt in (*SOURCES, "refused connection", "inside the network")}
    urls: dict[str, str] = {}
    provider.script(
        lambda request: (
            Mishap(body=json.dumps({"data": [{"url": urls[prompt_of(request)]}]}).encode())
            if prompt_of(request) in urls
            else None
        )
    )
    prompts = [*picture, "a good one", "另一张好图"]
    world.configure(file_section("main", tmp_path / "archive") + job(prompts), provider=provider)
    with ImageSource() as source, ImageSource() as dead:
        for number, (prompt, (behaviour, _)) in enumerate(SOURCES.items()):
            urls[prompt] = source.add(f"/{number}.png?Signature=abc", picture[prompt], **behaviour)
        urls["refused connection"] = dead.add("/dead.png", picture["refused connection"])
        inside = source.add("/inside.png", picture["inside the network"])
        urls["inside the network"] = inside.replace("127.0.0.1", "127.0.0.2")
        dead.down()
        expected = {prompt: words for prompt, (_, words) in SOURCES.items()}
        expected |= {"refused connection": "127.0.0.1", "inside the network": "127.0.0.2 is private"}

        done = world.run("run", "--once")
        assert done.returncode == 1
        assert "2 images archived, 0 lost" in done.stderr
        rows = images(world)
        for prompt, words in expected.items():
            row = rows[prompt]
            assert (prompt, row["state"]) == (prompt, "pending")
            assert words in row["error"], prompt
            assert f"postponed {row['id']}: {row['error']}" in done.stderr
        assert "allow_cidrs" in rows["inside the network"]["error"]
        assert "Signature=" not in done.stderr
        assert {prompt for prompt, row in rows.items() if row["state"] == "stored"} == {"a good one", "另一张好图"}

        for number, prompt in enumerate(SOURCES):
            source.add(f"/{number}.png?Signature=abc", picture[prompt])
        dead.up()
        again = world.run("drain")
        assert again.returncode == 1 and "7 images archived, 0 lost" in again.stderr
        assert "allow_cidrs" in again.stderr
    assert len(provider.charges) == len(prompts)
    rows = images(world)
    assert [prompt for prompt, row in rows.items() if row["state"] != "stored"] == ["inside the network"]
    for row in world.sql("select prompt, key from lineage"):
        body = (tmp_path / "archive" / row["key"]).read_bytes()
        assert body == picture.get(row["prompt"], ImagesProvider.image(row["prompt"], 0))


# --- prompts --------------------------------------------------------------------------------------------------------


def test_any_text_is_a_prompt(world: World, provider: ImagesProvider, tmp_path: Path) -> None:
    """Quotes, newlines, control characters, emoji, Chinese, 20,000 characters: asked for, kept and found again."""
    prompts = [
        'it\'s "quoted" `twice` $HOME %s {id} \\n',
        "two\nlines\r\nand a\ttab",
        "\x1b[31mred\x1b[0m \x07 \u202eback",
        "🐈\u200d⬛ 一只猫，坐在月球上 e\u0301",
        "x'); drop table images; --",
        "long " + "猫" * 19_995,
        "--not-an-option",
    ]
    world.configure(file_section("main", tmp_path / "archive"), provider=provider)
    done = world.run("generate", "--", *prompts)
    assert done.returncode == 0, done.stderr
    assert not [sign for sign in done.stdout + done.stderr if sign in "\x1b\x07\r\u202e"], "shown, not obeyed"
    assert "\\x1b[31mred" in done.stdout
    assert sorted(charge.prompt for charge in provider.charges) == sorted(prompts)
    rows = world.rows("lineage", world.sql("select id from generations where prompt like '🐈%'")[0]["id"])
    assert [row["prompt"] for row in rows] == [prompts[3]]
    assert sorted(row["prompt"] for row in world.rows("images")) == sorted(prompts)
    (long,) = world.rows("lineage", "long", prompts[5][5:])
    assert long["prompt"] == prompts[5]
    (quoted,) = world.rows("lineage", prompts[0])
    assert quoted["prompt"] == prompts[0]
    for arguments, words in ((["caf\udce9"], "is not UTF-8 text"), ([" \n "], "is an empty prompt")):
        refused = world.run("generate", "good", *arguments)
        assert refused.returncode == 2 and words in refused.stderr
    assert len(provider.charges) == len(prompts) == len(generations(world))


def test_a_prompts_file_that_is_no_text_spends_nothing(world: World, provider: ImagesProvider, tmp_path: Path) -> None:
    """NUL, other encodings, a file that is gone: the job is not planned, exit 2; the other job goes on."""
    for name, content in (("nul", b"a\0cat\n"), ("latin", "café\n".encode("latin-1"))):
        world.folder.mkdir(exist_ok=True)
        (world.folder / f"{name}.txt").write_bytes(content)
    jobs = [job(["good"], name="good")]
    jobs += [
        job([], name=name).replace("prompts = []", f'prompts_file = "{name}.txt"') for name in ("nul", "latin", "gone")
    ]
    world.configure(file_section("main", tmp_path / "archive") + "".join(jobs), provider=provider)
    done = world.run("run", "--once")
    assert done.returncode == 2
    for name in ("nul", "latin", "gone"):
        assert f"job {name} was not planned: jobs.{name}.prompts_file" in done.stderr
    assert [charge.prompt for charge in provider.charges] == ["good"]
    assert "1 image archived, 0 lost" in done.stderr
    assert world.run("config", "check").returncode == 2
    for name in ("nul", "latin", "gone"):
        (world.folder / f"{name}.txt").write_text(f"from {name}\n", "utf-8")
    assert "3 images archived" in world.run("run", "--once").stderr
