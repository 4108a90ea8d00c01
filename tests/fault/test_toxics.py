"""Every fault of a network at every stage of a life: nothing is lost, nothing is paid twice.

One table says what comes of each. The processes' part is played in the test's own process over real sockets, with the
clock in the test's hand; the oracle of the crash tests compares ledger, stores and catalogue afterwards.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from archiver.core.model import SecretReference
from archiver.core.ports import Outside, Store
from archiver.stores import s3
from archiver.transport import FetchLimits
from tests.crash.oracle import Contents, contents_of, judge
from tests.doubles.bare_s3 import BareS3
from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.doubles.toxics import TOXICS, UNFELT, Toxics
from tests.pipeline.workshop import Clock, Workshop, open_workshop
from tests.world import World

LIMIT_S = 0.8
"""What may last so long in this file counts as silence, or as too slow: the drip lasts twice as long."""
IMAGES = 2
PROMPT = "a wish"

# through: nobody notices. again: it waits for its turn and succeeds then. doubt: nobody can know whether it was charged
# (it was not); paid: likewise (it was), and the answer is lost with the connection. None: there is no such case.
#
# Two things of libcurl's are in it. A request on a connection that was used before, which dies without a byte, goes out
# again at once on a new one (read back and record come behind a put; equal bytes under one key are success). And half a
# head is taken for a whole one: without the digest that was cut off, the object is read back.
STAGES = ("ask", "fetch", "put S3", "read back S3", "put OSS", "record")
TABLE: dict[str, tuple[str | None, ...]] = {
    "refused": ("again", "again", "again", None, "again", "again"),
    "reset before the request": ("doubt", "again", "again", "through", "again", "through"),
    "reset after the request": ("doubt", "again", "again", "through", "again", "through"),
    "reset midway": ("paid", "again", "again", "again", "again", "again"),
    "end midway": ("paid", "again", "through", "again", "through", "through"),
    "silence": ("doubt", "again", "again", "again", "again", "again"),
    "drip": ("through", "again", "again", "again", "again", "again"),
    "latency": ("through", "through", "through", "through", "through", "through"),
    "reply lost": ("paid", "again", "again", "through", "again", "through"),
    "half a chunk": ("paid", "again", "again", "again", "again", "again"),
    "garbage": ("paid", "again", "again", "again", "again", "again"),
    "500": ("doubt", "again", "again", "again", "again", "again"),
    "503": ("doubt", "again", "again", "again", "again", "again"),
    "429": ("again", "again", "again", "again", "again", "again"),
}
CELLS = [(stage, toxic) for toxic, row in TABLE.items() for stage, word in zip(STAGES, row, strict=True) if word]

# Which exchanges of the server in front of which the proxy stands.
_IS_MEANT: dict[str, Callable[[str], bool]] = {
    "ask": lambda line: line.startswith("POST "),
    "fetch": lambda line: line.startswith("GET "),
    "put S3": lambda line: line.startswith("PUT ") and "_lineage" not in line,
    "read back S3": lambda line: line.startswith("GET ") and "_lineage" not in line,
    "put OSS": lambda line: line.startswith("PUT ") and "_lineage" not in line,
    "record": lambda line: line.startswith("PUT ") and "_lineage" in line,
}


@dataclass
class Life:
    """A workshop whose way to one stage leads through a proxy."""

    shop: Workshop
    front: Toxics
    provider: ImagesProvider
    stage: str

    def poison(self, toxic: str) -> None:
        """Spoil the next exchange of the stage."""
        if toxic != "refused":
            self.front.poison(toxic, _IS_MEANT[self.stage])

    def step(self, stage: str, toxic: str, act: Callable[[], Any]) -> Any:
        """Do what belongs to a stage; connections are refused meanwhile if that is the fault of this one."""
        is_refused = toxic == "refused" and self.stage == stage
        if is_refused:
            self.front.down()
        try:
            return act()
        finally:
            if is_refused:
                self.front.up()

    def round(self, toxic: str = "") -> None:
        """Ask for and copy all that is due, with one fault."""
        stage = self.stage if self.stage not in ("ask", "record") else "copy"
        self.step("ask", toxic, lambda: self.shop.ask("double"))
        outcomes = self.step(stage, toxic, self._copies)
        if outcomes:
            self.step("record", toxic, lambda: self.shop.pipeline.settler.settle(outcomes))

    def _copies(self) -> list[Any]:
        outcomes = []
        while (ticket := self.shop.pipeline.next_to_copy()) is not None:
            outcomes.append(self.shop.pipeline.copy(ticket))
        return outcomes

    def rest(self) -> None:
        """Let pauses pass and gates open."""
        self.shop.clock.advance(minutes=20)
        self.shop.pipeline.recover()


@contextmanager
def life(folder: Path, stage: str, **options: Any) -> Iterator[tuple[Life, dict[str, Contents]]]:
    """A provider, the store that the stage is about, and a process between them."""
    clock = Clock(datetime.now(UTC))  # the stores' own SDKs sign with the machine's time
    with ExitStack() as stack:
        provider = stack.enter_context(ImagesProvider())
        bare = stack.enter_context(BareS3())
        far = stack.enter_context(OssDouble())
        name, double = ("bare", bare) if "S3" in stage else ("far", far)
        behind = {"ask": provider, "fetch": provider.source}.get(stage, double)
        front = stack.enter_context(Toxics(behind, drip_s=2 * LIMIT_S))

        def others(outside: Outside) -> dict[str, Store]:
            keys = {"env:K3": bare.access_key, "env:S3": bare.secret_key}
            settings = s3.Settings(
                url=f"s3://{bare.bucket}/archive",
                endpoint=bare.endpoint,
                region=bare.region,
                access_key_id=SecretReference("env:K3"),
                access_key_secret=SecretReference("env:S3"),
            )
            # The double judges signatures by the machine's time.
            own = replace(outside, secret=lambda reference: keys[reference.text], now=lambda: datetime.now(UTC))
            return {"bare": s3.connect("bare", settings, own)}

        data = folder / "user" / "data"
        (data / "stores").mkdir(parents=True)
        shop = stack.enter_context(
            open_workshop(
                data,
                near=folder / "near",
                far=far,
                double=provider,
                clock=clock,
                others=others,
                limits=FetchLimits(total_s=LIMIT_S),
                **options,
            )
        )
        held: Contents = lambda: {key: item.body for key, item in bare.objects.items()}  # noqa: E731 - a reader, as its neighbour
        yield Life(shop, front, provider, stage), {name: held if name == "bare" else contents_of(far)}


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Providers may think for minutes and stores may take some; here a moment must do."""
    monkeypatch.setattr("archiver.providers.account.READ_S", LIMIT_S)
    monkeypatch.setattr("archiver.stores.objects._TOTAL_SECONDS", LIMIT_S)


@pytest.mark.parametrize(("stage", "toxic"), CELLS, ids=str)
def test_f075_one_fault_at_one_stage(tmp_path: Path, stage: str, toxic: str) -> None:
    """The table's word comes true, and after the fault is healed every image is stored once, with its own digest."""
    word = TABLE[toxic][STAGES.index(stage)]
    with life(tmp_path, stage) as (one, stores):
        (store,) = stores
        (generation,) = one.shop.plan("double", PROMPT, stores=(store,), n=IMAGES)
        one.poison(toxic)
        one.round(toxic)
        assert one.front.played == 1, "nobody met the fault"
        state = one.shop.generation(generation)["state"]
        states = one.shop.states()
        if stage == "ask":
            assert state == {"again": "planned", "through": "completed"}.get(str(word), "unknown")
        else:
            assert state == "completed"
            assert (states == ["stored"] * IMAGES) == (word == "through"), states
            if toxic == "garbage":
                assert "the reply is no proper HTTP" in " ".join(str(image["error"]) for image in one.shop.images())
        for _ in range(3):
            one.rest()
            one.round()
    doubts = {generation} if word in ("doubt", "paid") else set()
    verdict = judge(World(tmp_path / "user"), one.provider, stores, doubts)
    assert verdict.charges == (0 if word == "doubt" else 1)
    assert (verdict.images, verdict.copies) == ((0, 0) if doubts else (IMAGES, IMAGES))


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "ask"])
def test_f075_all_faults_one_after_another_at_one_stage(tmp_path: Path, stage: str) -> None:
    """Attempt after attempt meets another fault that hurts; the first one without a fault brings everything home."""
    with life(tmp_path, stage) as (one, stores):
        (store,) = stores
        one.shop.plan("double", PROMPT, stores=(store,))
        for toxic in (toxic for toxic, row in TABLE.items() if row[STAGES.index(stage)] == "again"):
            one.poison(toxic)
            one.round(toxic)
            assert "stored" not in one.shop.states(), toxic
            one.rest()
        one.round()
        assert one.shop.states() == ["stored"]
    verdict = judge(World(tmp_path / "user"), one.provider, stores, set())
    assert (verdict.charges, verdict.images, verdict.copies) == (1, 1, 1)


def test_the_table_is_whole() -> None:
    """A toxic without a row, or a word that contradicts what the toxic does, would prove nothing."""
    assert tuple(TABLE) == TOXICS
    for toxic, row in TABLE.items():
        assert row[0] != ("paid" if toxic in UNFELT else "doubt"), toxic
