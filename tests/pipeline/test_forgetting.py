"""What is forgotten is gone, from every store, this machine and the catalogue; and everything else is as it was."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from archiver.catalogue import Owner
from archiver.core.model import SecretReference
from archiver.core.policy import DEFAULT_KEY
from archiver.core.ports import Outside, Store
from archiver.pipeline.forgetting import Busy, Forget, Forgotten
from archiver.pipeline.planning import inputs_of
from archiver.stores import s3
from archiver.transport import Body
from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.doubles.whole_s3 import WholeS3
from tests.pipeline.test_rebuild import dump, lineage, make, plan, rebuilt, rows
from tests.pipeline.workshop import Workshop, open_workshop

BOTH = ("near", "bucket")
RARE = "龘靐齉"
SECRET = f"a very secret fox in 雪 {RARE}"
"""The index of prompts cuts it into pieces of three characters: this one it holds as it is."""


@dataclass
class Place:
    """What outlives a process: a folder, a strict bucket, a provider."""

    folder: Path
    bucket: Any
    double: ImagesProvider

    @contextmanager
    def open(self, name: str = "old") -> Iterator[Workshop]:
        """A process; another `name` is another catalogue."""
        with open_workshop(
            self.folder / name, near=self.folder / "near", double=self.double, others=self._stores
        ) as shop:
            yield shop

    def _stores(self, outside: Outside) -> dict[str, Store]:
        settings = s3.Settings(
            url=f"s3://{self.bucket.bucket}/archive",
            endpoint=self.bucket.endpoint,
            region=self.bucket.region,
            access_key_id=SecretReference("env:ID"),
            access_key_secret=SecretReference("env:SECRET"),
        )
        keys = {"env:ID": self.bucket.access_key, "env:SECRET": self.bucket.secret_key}
        # The double judges signatures by the machine's time.
        own = replace(outside, secret=lambda reference: keys[reference.text], now=lambda: datetime.now(UTC))
        return {"bucket": s3.connect("bucket", settings, own)}

    def objects(self) -> dict[str, bytes]:
        """Every object of both stores, and unfinished files."""
        near = {str(path): path.read_bytes() for path in (self.folder / "near").rglob("*") if path.is_file()}
        return near | {key: bytes(one.body) for key, one in self.bucket.objects.items()}

    def traces(self, *texts: str, name: str = "old") -> list[str]:
        """Where any of the texts can still be found, in a name or in bytes."""
        files = {str(path): path.read_bytes() for path in (self.folder / name).rglob("*") if path.is_file()}
        found = []
        for text in texts:
            for needle in {text.encode(), json.dumps(text)[1:-1].encode()}:
                found += [key for key, body in (self.objects() | files).items() if needle in body or text in key]
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with WholeS3() as bucket, ImagesProvider() as double:
        yield Place(tmp_path, bucket, double)


def forget_of(shop: Workshop, without: str = "") -> Forget:
    stores = {name: store for name, store in shop.pipeline.carrier.stores.items() if name != without}
    return Forget(
        catalogue=shop.catalogue,
        stores=stores,
        inbox=shop.pipeline.inbox,
        spool=shop.pipeline.spool,
        parts=shop.data_dir / "parts",
        key_template=DEFAULT_KEY,
        now=shop.clock,
    )


def forget(shop: Workshop, name: str, *, whole: bool = False, **options: Any) -> Forgotten:
    target = shop.catalogue.forgetting.look(name, whole=whole)
    assert target is not None
    return forget_of(shop).run(target, shop.pipeline.owner, **options)


def keys_of(shop: Workshop, image_id: str) -> list[str]:
    return [row["key"] for row in rows(shop, f"select key from copies where image_id = '{image_id}'")]


def words_of_index(shop: Workshop) -> set[str]:
    """Every trigram that the index of prompts still holds."""
    shop.catalogue._database.rows("create virtual table if not exists temp.words using fts5vocab(main, prompts, 'row')")
    return {row["term"] for row in rows(shop, "select term from temp.words")}


def of_others(shop: Workshop, *images: str, generations: tuple[str, ...] = ()) -> dict[str, Any]:
    """The rows of everybody else; records may have other names."""
    gone, asked = set(images), set(generations)
    found = dump(shop)
    return {
        "images": [row for row in found["images"] if row["id"] not in gone],
        "copies": [row | {"lineage_key": None} for row in found["copies"] if row["image_id"] not in gone],
        "generations": [row for row in found["generations"] if row["id"] not in asked],
        "events": [row for row in found["events"] if row["image_id"] not in gone and row["generation_id"] not in asked],
        "money": rows(shop, "select id, cost_micro, request_id, created_at from generations order by id"),
        "ticks": found["ticks"],
        "budgets": found["budgets"],
    }


def test_one_of_two_goes_and_the_other_keeps_the_prompt(place: Place) -> None:
    with place.open() as shop:
        first, second = make(shop, "g0", SECRET, n=2, stores=BOTH)
        (other,) = make(shop, "g1", "a wren", stores=BOTH)
        before, view = of_others(shop, first), lineage(shop)
        keys = keys_of(shop, first)
        digest = rows(shop, f"select sha256 from images where id = '{first}'")[0]["sha256"]
        told = forget(shop, first)
        assert told.is_whole and told.gone == {(name, what): 1 for name in BOTH for what in ("objects", "records")}
        assert place.traces(*keys, digest) == []
        assert of_others(shop, first) == before
        assert lineage(shop) == [row for row in view if row["image_id"] != first]
        assert {row["prompt"] for row in lineage(shop) if row["image_id"] == second} == {SECRET}
        assert rows(shop, "select kind, detail from events where kind = 'forgotten'") == [
            {"kind": "forgotten", "detail": "the prompt stays; other images of the generation: 1"}
        ]
        assert shop.copy() == [] and shop.catalogue.materials.whereabouts(first) is None
        left = lineage(shop)
    with place.open("new") as shop:
        assert rebuilt(shop).is_whole and lineage(shop) == left
        assert {row["image_id"] for row in left} == {second, other}


def test_the_last_one_takes_the_prompt_with_it_from_everywhere(place: Place) -> None:
    """Also from the index of prompts, and from the records of those that were made of it."""
    said = {"reply": f"{SECRET}, he said", "metadata": json.dumps({"note": SECRET}), "tags": json.dumps([SECRET])}
    with place.open() as shop:
        make(shop, "g1", "a wren", stores=BOTH)
        (image,) = make(shop, "g0", SECRET, said, stores=BOTH)
        make(shop, "edit", "in winter", inputs=inputs_of(shop.catalogue, [f"image:{image}"]), stores=BOTH)
        make(shop, "talk", "with a hat", continues="g0", stores=("bucket",))
        keys, before, view = keys_of(shop, image), of_others(shop, image, generations=("g0",)), lineage(shop)
        digest = rows(shop, f"select sha256 from images where id = '{image}'")[0]["sha256"]
        with shop.catalogue._database.write() as db:
            for column, name in (("image_id", image), ("generation_id", "g0")):
                statement = f"insert into events (at, kind, {column}, detail) values ('now', 'odd', ?, ?)"
                db.execute(statement, (name, SECRET))
        assert place.traces(SECRET) and words_of_index(shop) & {"ver", "fox", RARE}
        assert forget(shop, image).is_whole
        assert place.traces(SECRET, RARE, *keys, digest) == []
        assert not words_of_index(shop) & {"ver", "fox", RARE}
        assert of_others(shop, image, generations=("g0",)) == before
        left = lineage(shop)
        expected = [row | {"inputs": row["inputs"].replace(digest, "0" * 64)} for row in view]
        assert left == [row for row in expected if row["image_id"] != image]
        assert {row["parent_image_id"] for row in left if row["generation_id"] == "edit"} == {image}
        again = dump(shop)
        assert forget(shop, image).is_whole and dump(shop) == again
        # An old catalogue learns nothing from what is there, and a record that comes back adds nothing.
        assert rebuilt(shop).is_whole and lineage(shop) == left
    with place.open("new") as shop:
        came = rebuilt(shop)
        assert came.is_whole and not came.counts["lost"] and not came.counts["loose"]
        assert lineage(shop) == left and rows(shop, "select * from losses") == []
        assert rows(shop, f"select state, source from images where id = '{image}'") == [
            {"state": "forgotten", "source": None}
        ]
        assert place.traces(SECRET, *keys, digest, name="new") == []


def test_a_record_from_before_adds_nothing_to_a_catalogue_that_forgot(place: Place) -> None:
    with place.open() as shop:
        (image,) = make(shop, "g0", SECRET, stores=("near",))
        near = shop.pipeline.carrier.stores["near"]
        records = {found.key: b"".join(near.open(found.key)) for found in near.list("_lineage/")}
        assert forget(shop, image).is_whole
        after = dump(shop)
        for key, body in records.items():
            near.put_new(key, Body.of(body), "text/plain", {})
        assert rebuilt(shop).counts["known"] == 1
        assert dump(shop) == after and shop.states() == ["forgotten"]


@pytest.mark.parametrize("state", ["pending", "spooled", "lost", "missing"])
def test_from_every_state(place: Place, state: str) -> None:
    with place.open() as shop:
        plan(shop, "g0", SECRET, stores=BOTH)
        shop.ask("double")
        image = shop.images()[0]["image_id"]
        url = rows(shop, "select url from urls")[0]["url"]
        if state == "lost":
            assert shop.catalogue.images.lose(image, shop.clock())
        elif state == "spooled":
            place.bucket.down()
            shop.copy()
            place.bucket.up()
        elif state == "missing":
            shop.copy()
            with shop.catalogue._database.write() as db:
                db.execute("update images set state = 'missing'")
        assert shop.states() == [state]
        keys = [key for key in keys_of(shop, image) if key]
        told = forget(shop, image)
        assert told.is_whole and shop.states() == ["forgotten"]
        assert place.traces(SECRET, RARE, url, *keys) == [] and shop.files("spool") == [] and shop.files("inbox") == []
        assert shop.copy() == [] and rows(shop, "select * from copies") == rows(shop, "select * from losses") == []
        shop.pipeline.recover(at_start=True)
        assert shop.states() == ["forgotten"]


def test_an_answer_that_another_image_needs_stays_until_it_is_archived(place: Place) -> None:
    with place.open() as shop:
        plan(shop, "g0", SECRET, n=2, stores=BOTH)
        shop.ask("double")
        first, _ = (image["image_id"] for image in shop.images())
        told = forget(shop, first)
        assert not told.is_whole and told.waits and shop.files("inbox") == ["g0.answer"]
        shop.copy()
        assert sorted(shop.states()) == ["forgotten", "stored"] and shop.files("inbox") == []
        assert forget(shop, first).is_whole and rows(shop, "select * from forgettings") == []


def test_a_store_that_cannot_be_reached_is_visited_later_and_nothing_is_shown_meanwhile(place: Place) -> None:
    with place.open() as shop:
        (image,) = make(shop, "g0", SECRET, stores=BOTH)
        held = dict(place.bucket.objects)
        place.bucket.down()
        told = forget(shop, image)
        assert set(told.troubles) == {"bucket"} and not told.is_whole
        assert place.bucket.objects == held
        assert lineage(shop) == [] and shop.states() == ["forgotten"]
        assert [row["key"] for row in rows(shop, "select key from copies")] != []
        place.bucket.up()
    with place.open() as shop:  # another process ends it
        assert forget(shop, image).is_whole
        assert place.traces(SECRET) == [] and place.bucket.objects == {}


def test_a_store_that_is_not_configured_any_more_is_named(place: Place) -> None:
    with place.open() as shop:
        (image,) = make(shop, "g0", SECRET, stores=BOTH)
        target = shop.catalogue.forgetting.look(image, whole=False)
        assert target is not None
        told = forget_of(shop, without="bucket").run(target, shop.pipeline.owner)
        assert "not in the configuration" in told.troubles["bucket"]
        assert forget(shop, image).is_whole and place.traces(SECRET) == []


def test_what_somebody_works_on_is_not_forgotten(place: Place) -> None:
    """Nor what something is just being made of: its record would tell of it. Whoever died holds nothing."""
    with place.open() as shop:
        (image,) = make(shop, "g0", SECRET, stores=BOTH)
        plan(shop, "edit", "in winter", inputs=inputs_of(shop.catalogue, [f"image:{image}"]), stores=BOTH)
        shop.ask("double")
        other = Owner(shop.data_dir / "owners", "other")
        assert shop.catalogue.images.claim("other", shop.clock(), timedelta(minutes=9))
        before = dump(shop), place.objects()
        with pytest.raises(Busy):
            forget(shop, image)
        assert (dump(shop), place.objects()) == before
        other.close()
        assert forget(shop, image).is_whole


def test_an_object_that_no_row_names_yet_goes_too(place: Place) -> None:
    """Whoever put it was killed before it said so."""
    with place.open() as shop:
        plan(shop, "g0", SECRET, stores=BOTH)
        shop.ask("double")
        ticket = shop.pipeline.next_to_copy()
        assert ticket is not None
        outcome = shop.pipeline.copy(ticket)
        shop.pipeline.settler._record([outcome], shop.clock())
        shop.catalogue.images.free(shop.pipeline.owner.id)
        assert len(place.objects()) == 4
        assert forget(shop, ticket.image_id).is_whole and place.objects() == {}


DEATHS = (
    ("archiver.catalogue.forgetting", "Forgetting.begin", "after"),
    ("archiver.stores.local", "LocalStore.delete", "after"),
    ("archiver.pipeline.lineage", "put", "after"),
    ("archiver.catalogue.forgetting", "Forgetting.move_lines", "after"),
    ("archiver.catalogue.forgetting", "Forgetting.visited", "before"),
    ("archiver.catalogue.forgetting", "Forgetting.visited", "after"),
    ("archiver.catalogue.forgetting", "Forgetting.finish", "before"),
    ("archiver.catalogue.database", "Database.vacuum", "after"),
)


@pytest.mark.parametrize(("module", "name", "when"), DEATHS)
def test_a_death_at_any_moment_is_ended_by_the_same_command(
    place: Place, module: str, name: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the records of others in the same file, so that one is written anew."""
    with place.open() as shop:
        for number, prompt in enumerate((SECRET, "a wren")):
            plan(shop, f"g{number}", prompt, stores=BOTH)
        shop.ask("double")
        shop.copy()
        image = rows(shop, "select id from images where generation_id = 'g0'")[0]["id"]
        keys, view = keys_of(shop, image), lineage(shop)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(f"{module}.{name}", dying(module, name, when))
            forget(shop, image)
        assert shop.states().count("forgotten") == 1
    with place.open() as shop:
        assert forget(shop, image).is_whole
        left = lineage(shop)
        assert left == [row for row in view if row["image_id"] != image] and len(left) == 2
        assert place.traces(SECRET, *keys) == []
        named = {row["lineage_key"] for row in rows(shop, "select lineage_key from copies")}
        assert named <= {key.removeprefix(f"{place.folder}/near/") for key in place.objects()}
    with place.open("new") as shop:
        assert rebuilt(shop).is_whole and lineage(shop) == left


def dying(module: str, name: str, when: str) -> Any:
    import importlib

    holder: Any = importlib.import_module(module)
    for part in name.split("."):
        holder = getattr(holder, part)

    def die(*arguments: Any, **named: Any) -> Any:
        if when == "after":
            holder(*arguments, **named)
        raise KeyboardInterrupt

    return die


def test_on_oss(tmp_path: Path) -> None:
    with OssDouble() as far, ImagesProvider() as double, open_workshop(tmp_path, far=far, double=double) as shop:
        (image,) = make(shop, "g0", SECRET, stores=("near", "far"))
        (other,) = make(shop, "g1", "a wren", stores=("near", "far"))
        assert forget(shop, image).is_whole
        assert {row["image_id"] for row in lineage(shop)} == {other}
        assert not any(image in key or SECRET.encode() in held.body for key, held in far.objects.items())
        assert len(far.objects) == 2


@pytest.mark.parametrize("seed", range(12))
def test_random_histories(place: Place, seed: int) -> None:
    """Edits, dialogues, siblings, several in one record; forgotten in any order, and now and then a store is away."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    with place.open() as shop:
        known: list[str] = []
        for number in range(chance.randrange(4, 9)):
            more: dict[str, Any] = {
                "n": chance.choice((1, 2, 3)),
                "stores": chance.choice((BOTH, ("near",), ("bucket",))),
            }
            if known and chance.random() < 0.4:
                more["inputs"] = inputs_of(shop.catalogue, [f"image:{chance.choice(known)}"])
            elif number and chance.random() < 0.4:
                more["continues"] = f"g{chance.randrange(number)}"
            plan(shop, f"g{number}", f"secret of {number:04d} 雪", **more)
            if chance.random() < 0.6:
                shop.ask("double")
                shop.copy()
                known = [row["id"] for row in rows(shop, "select id from images where state = 'stored'")]
        while shop.ask("double"):
            shop.copy()
        shop.copy()
        assert set(shop.states()) == {"stored"}
        everybody = [row["id"] for row in rows(shop, "select id from images order by id")]
        gone: list[str] = []
        keys: list[str] = []
        for image in chance.sample(everybody, chance.randrange(1, len(everybody) + 1)):
            keys += keys_of(shop, image)
            gone.append(image)
            erased = emptied(shop, gone)
            before = of_others(shop, *gone, generations=tuple(erased))
            if chance.random() < 0.2:
                place.bucket.down()
                forget(shop, image)
                place.bucket.up()
            assert forget(shop, image).is_whole
            after = of_others(shop, *gone, generations=tuple(erased))
            assert after == before
            assert place.traces(*keys, *(f"secret of {int(name[1:]):04d}" for name in erased)) == []
        left = lineage(shop)
        assert {row["image_id"] for row in left} == set(everybody) - set(gone)
        assert rows(shop, "pragma foreign_key_check") == []
    with place.open("new") as shop:
        assert rebuilt(shop).is_whole and lineage(shop) == left


def emptied(shop: Workshop, gone: list[str]) -> list[str]:
    """The generations of which every image is gone."""
    images = rows(shop, "select id, generation_id from images")
    return sorted(
        {row["generation_id"] for row in images} - {row["generation_id"] for row in images if row["id"] not in gone}
    )


def test_snapshots_that_may_hold_it_are_counted_and_go_on_request(place: Place) -> None:
    with place.open() as shop:
        (image,) = make(shop, "g0", SECRET, stores=BOTH)
        near = shop.pipeline.carrier.stores["near"]
        for key in (snapshot_key(shop, 1), snapshot_key(shop, -1), "_catalogue/note.txt"):
            near.put_new(key, Body.of(b"snapshot"), "application/gzip", {})
        assert forget(shop, image).snapshots == {"near": 1, "bucket": 0}
        assert forget(shop, image, snapshots=True).gone == {("near", "snapshots"): 1}
        assert len(list(near.list("_catalogue/"))) == 2


def snapshot_key(shop: Workshop, hours_ago: int) -> str:
    """As `backup` makes it."""
    at = shop.clock() - timedelta(hours=hours_ago)
    number, letters = int(at.timestamp() * 1000), ""
    for _ in range(10):
        letters = "0123456789abcdefghjkmnpqrstvwxyz"[number % 32] + letters
        number //= 32
    return f"_catalogue/{at:%Y/%m/%d}/{letters}{'0' * 16}.db.gz"


def test_what_served_for_an_equal_request_serves_no_longer(place: Place) -> None:
    with place.open() as shop:
        (image,) = make(shop, "g0", SECRET, stores=("near",), reuse=timedelta(days=1))
        plan(shop, "twin", SECRET, stores=("near",), reuse=timedelta(days=1))
        assert shop.catalogue.reusing.reuse("double", shop.clock()) == ["twin"]
        assert forget(shop, image).is_whole and place.traces(SECRET) == []
        plan(shop, "later", SECRET, stores=("near",), reuse=timedelta(days=1))
        assert shop.catalogue.reusing.reuse("double", shop.clock()) == []
        assert shop.ask("double") == 1


def test_what_the_provider_made_of_the_prompt_goes_with_its_image(place: Place) -> None:
    """The facts of the answer repeat it, in the catalogue and in the records of the other image."""
    with place.open() as shop:
        plan(shop, "g0", "a fox", n=2, stores=BOTH)
        shop.ask("double")
        first, second = (image["image_id"] for image in shop.images())
        facts = {"data": [{"revised_prompt": SECRET}, {"revised_prompt": "a red fox"}]}
        with shop.catalogue._database.write() as db:
            db.execute("update images set revised_prompt = ? where id = ?", (SECRET, first))
            db.execute("update images set revised_prompt = 'a red fox' where id = ?", (second,))
            db.execute("update generations set facts = ?", (json.dumps(facts, ensure_ascii=False),))
        shop.copy()
        assert len(place.traces(SECRET)) > 2
        assert forget(shop, first).is_whole and place.traces(SECRET) == []
        assert "a red fox" in rows(shop, "select facts from generations")[0]["facts"]
        left = lineage(shop)
    with place.open("new") as shop:
        assert rebuilt(shop).is_whole and lineage(shop) == left
        assert "a red fox" in rows(shop, "select facts from generations")[0]["facts"]
