"""The state machine: processes come, work, die and meet; the outside and the clock misbehave; the invariants hold.

A rule is one thing that happens, and is checked after by all of `invariants`. How a run begins and ends is in `judged`.
"""

import hashlib
from datetime import timedelta
from typing import Any

from hypothesis import strategies as some
from hypothesis.stateful import precondition, rule

from archiver.catalogue import as_time
from archiver.core import policy
from archiver.core.model import Ticket
from archiver.core.tempurl import TemporaryURL
from tests.fault.invariants import View, inv_26
from tests.fault.judged import DAY, HOUR, MINUTE, Judged
from tests.fault.virtual_outside import REPLIES, SOURCE_FAULTS, STORE_FAULTS, named_in, picture
from tests.fault.virtual_process import Process

LIFETIMES = (10 * MINUTE, HOUR, DAY, 7 * DAY)
PAUSES = (timedelta(seconds=2), timedelta(seconds=40), 5 * MINUTE, 25 * MINUTE, 2 * HOUR, 20 * HOUR, 2 * DAY)
JUMPS = (3 * MINUTE, HOUR, 9 * HOUR, 3 * DAY, 12 * DAY)
STORE_SETS = (("near", "far"), ("near",), ("far",))

which = some.integers(0, 9)
dies_after = some.none() | some.integers(1, 9)


class Machine(Judged):
    """What happens to one data folder."""

    @rule(steps=some.integers(1, 9))
    def doom_whoever_acts_next(self, steps: int) -> None:
        """The next one that acts dies after so many steps outside."""
        self.doom = steps

    @precondition(lambda self: len(self.world.processes) < 3)
    @rule()
    def start_another_process(self) -> None:
        self.world.fate.left, self.doom = self.doom, None
        self.world.open_process()

    @rule(number=which)
    def die(self, number: int) -> None:
        self.world.kill(self.process(number))
        self.world.fate.left = None

    @rule(number=which)
    def end_in_order(self, number: int) -> None:
        process = self.process(number)
        self.world.fate.left = None
        self.world.close(process)
        inv_26(self.world, View.of(self.world), process.pipeline.owner.id)

    @rule(number=which)
    def recover(self, number: int) -> None:
        process = self.process(number)
        self.world.act(process, process.pipeline.recover)

    # --- asking ------------------------------------------------------------------------------------------------------

    @rule(number=which)
    def plan(self, number: int) -> None:
        process = self.process(number)
        self.world.act(process, lambda: process.pipeline.plan(self.world.jobs))

    @rule(
        number=which,
        provider=some.sampled_from(["plain", "signed"]),
        n=some.integers(1, 3),
        stores=some.sampled_from(STORE_SETS),
        reply=some.sampled_from(REPLIES) | some.sampled_from(["ok", "inline", "task"]),
        lifetime=some.sampled_from(LIFETIMES),
        dies_after=dies_after,
    )
    def ask(
        self,
        number: int,
        provider: str,
        n: int,
        stores: tuple[str, ...],
        reply: str,
        lifetime: timedelta,
        dies_after: int | None,
    ) -> None:
        """Plan one generation, and ask for the first that is due: this one, or one that waited."""
        process, port = self.process(number, dies_after), self.world.providers[provider]
        port.reply = reply
        port.lifetime = lifetime if port.signed else HOUR
        self.world.generate(process, provider, n, stores)
        self.world.act(process, lambda: process.ask(port))
        port.reply = "ok"

    @rule(number=which)
    def ask_for_what_waits(self, number: int) -> None:
        process = self.process(number)
        for port in self.world.providers.values():
            if process in self.world.processes:
                self.world.act(process, lambda port=port: process.ask(port))  # type: ignore[misc]

    @rule(number=which, dies_after=dies_after)
    def poll(self, number: int, dies_after: int | None) -> None:
        process = self.process(number, dies_after)
        for port in self.world.providers.values():
            if process in self.world.processes:
                self.world.act(process, lambda port=port: process.poll(port))  # type: ignore[misc]

    @precondition(lambda self: any(port.charges for port in self.world.providers.values()))
    @rule(number=which, chosen=which)
    def deliver_again(self, number: int, chosen: int) -> None:
        """The true answer of a request arrives once more, or for the first time after all."""
        process = self.process(number)
        paid = [(port, name) for port in self.world.providers.values() for name in port.charges if port.made[name]]
        if paid:
            port, generation_id = paid[-1 - chosen % len(paid)]
            self.world.act(process, lambda: self.world.deliver_again(process, port, generation_id))

    # --- keeping -----------------------------------------------------------------------------------------------------

    @rule(number=which, dies_after=dies_after)
    def drain(self, number: int, dies_after: int | None) -> None:
        process = self.process(number, dies_after)
        self.world.act(process, process.drain)

    @rule(number=which, most=some.integers(1, 3), copies=some.booleans())
    def take_in_hand(self, number: int, most: int, copies: bool) -> None:
        """Claim images, perhaps copy them too, and settle nothing. Nobody gets what somebody else holds."""
        process = self.process(number)
        for _ in range(most):
            held = {
                image["id"]: image["claim"]
                for image in self.world.rows("select * from images where claimed_by is not null")
                if as_time(image["claimed_until"]) > self.world.time()
            }
            if process in self.world.processes and self.world.act(process, process.claim) and process.tickets:
                ticket = process.tickets[-1]
                assert held.get(ticket.image_id) in (None, ticket.claim)
        if copies and process in self.world.processes:
            self.world.act(process, process.copy)

    @rule(number=which, works=some.booleans())
    def a_ghost_wakes(self, number: int, works: bool) -> None:
        """A process copies, sleeps through its lease while another one does the work, and then settles."""
        ghost = self.process(number)
        self.world.fate.left = None
        while ghost.claim() is not None:
            ghost.copy()
        self.world.time.pass_by(40 * MINUTE)
        if works and (other := self.world.open_process()) is not None:
            other.drain()
            self.world.close(other)
        if ghost.outcomes:
            self.settle_what_is_held(ghost)

    @precondition(lambda self: any(process.tickets or process.outcomes for process in self.world.processes))
    @rule(number=which)
    def settle(self, number: int) -> None:
        """Finish what is in hand, perhaps long after the lease has passed: a stale claim changes nothing."""
        busy = [process for process in self.world.processes if process.tickets or process.outcomes]
        process = busy[number % len(busy)]
        self.world.fate.left, self.doom = self.doom, None
        if self.world.act(process, process.copy):
            self.settle_what_is_held(process)

    def settle_what_is_held(self, process: Process) -> None:
        """Settle, and see that only what is still claimed has changed."""
        before = {image["id"]: image for image in self.world.rows("select * from images")}
        outcomes, process.outcomes = process.outcomes, []
        if not self.world.act(process, lambda: process.pipeline.settler.settle(outcomes)):
            return
        after = {image["id"]: image for image in self.world.rows("select * from images")}
        fresh = {outcome.ticket.image_id for outcome in outcomes if _is_valid(outcome.ticket, before)}
        for outcome in outcomes:
            image_id = outcome.ticket.image_id
            assert image_id in fresh or before[image_id] == after[image_id]

    @rule(number=which)
    def patience_runs_out(self, number: int) -> None:
        """Days pass in which nothing is done, then a few hours of work: what is still refused is given up."""
        self.process(number)
        ends = [as_time(row["give_up_at"]) for row in self.world.rows("select give_up_at from images")]
        self.world.fate.left = None
        self.world.time.pass_by(max([end - self.world.time() for end in ends] + [HOUR]))
        self.work(rounds=4, apart=61 * MINUTE)

    @rule(number=which)
    def expire(self, number: int) -> None:
        process = self.process(number)
        self.world.act(process, process.pipeline.expire)

    @rule(number=which, lifetime=some.sampled_from(LIFETIMES), signed=some.booleans())
    def backfill_something_new(self, number: int, lifetime: timedelta, signed: bool) -> None:
        process = self.process(number)
        address = self.world.source.issue(f"old-{len(self.world.source.links)}", lifetime, signed=signed)
        self.world.act(process, lambda: self.world.take_in(process, address, ("near",)))

    @precondition(lambda self: bool(self.world.source.links))
    @rule(number=which, chosen=which, again=some.booleans(), lifetime=some.sampled_from(LIFETIMES))
    def backfill_what_is_known(self, number: int, chosen: int, again: bool, lifetime: timedelta) -> None:
        """The same line once more, or the same image signed anew: never a second image."""
        process, source = self.process(number), self.world.source
        address = sorted(source.links)[chosen % len(source.links)]
        identity = TemporaryURL(address).identity
        known = self.world.rows(f"select id from images where source_identity = '{identity}'")
        if known and not again and "Signature" in address:
            address = source.issue(named_in(address), lifetime, signed=True)
        self.memory.refreshed |= {row["id"] for row in known}  # an unsigned one counts as fresh each time
        if self.world.act(process, lambda: self.world.take_in(process, address, ("near",))) and known:
            now_known = self.world.rows(f"select id from images where source_identity = '{identity}'")
            assert len(now_known) == len(known)

    # --- the outside, the clock, the disk ----------------------------------------------------------------------------

    @rule(fault=some.sampled_from(SOURCE_FAULTS) | some.just(""))
    def source_turns(self, fault: str) -> None:
        self.world.source.mode = fault

    @rule(name=some.sampled_from(["near", "far"]), fault=some.sampled_from(STORE_FAULTS) | some.just(""))
    def store_turns(self, name: str, fault: str) -> None:
        self.world.stores[name].mode = fault

    @precondition(lambda self: bool(self.world.source.links))
    @rule(chosen=which)
    def source_deletes_early(self, chosen: int) -> None:
        names = sorted({name for name, _ in self.world.source.links.values()})
        self.world.source.deleted.add(names[chosen % len(names)])

    @rule(amount=some.sampled_from(PAUSES))
    def time_passes(self, amount: timedelta) -> None:
        self.world.time.pass_by(amount)

    @rule(amount=some.sampled_from(JUMPS), back=some.booleans())
    def clock_jumps(self, amount: timedelta, back: bool) -> None:
        """Backwards by hours, forwards by days."""
        self.world.time.jump(-min(amount, 9 * HOUR) if back else amount)

    @precondition(lambda self: any((self.world.folder / "spool").iterdir()))
    @rule(chosen=which, gone=some.booleans())
    def spool_rots(self, chosen: int, gone: bool) -> None:
        """A file of the spool changes or disappears, while its URL lives."""
        spooled = self.world.rows("select images.* from images join urls using (seq) where state = 'spooled'")
        if not spooled:
            return
        image = spooled[chosen % len(spooled)]
        self.memory.rotted.add(image["id"])
        path = self.world.folder / "spool" / image["spool"]
        if gone:
            path.unlink(missing_ok=True)
        elif path.exists():
            path.write_bytes(path.read_bytes()[:-1] + b"!")

    @rule(chosen=which, store=some.sampled_from(["near", "far"]))
    def somebody_takes_our_key(self, chosen: int, store: str) -> None:
        waiting = self.world.rows(
            f"""select i.*, g.job, g.origin, g.created_at as born from images as i
            join generations as g on g.id = i.generation_id join copies as c on c.image_id = i.id
            where i.state = 'pending' and c.state = 'wanted' and c.key is null and c.store = '{store}'"""
        )
        if not waiting:
            return
        image = waiting[chosen % len(waiting)]
        body, home = picture(named_in(image["source"])), self.world.stores[store]
        key = policy.permanent_key(
            policy.DEFAULT_KEY,
            prefix=home.prefix,
            job=image["job"] or image["origin"],
            created=as_time(image["born"]),
            image_id=image["id"],
            sha256=hashlib.sha256(body).hexdigest(),
            ext="png",
        )
        if key not in home.objects:
            home.objects[key] = self.memory.planted[store, key] = b"somebody else's"


def _is_valid(ticket: Ticket, rows: dict[str, dict[str, Any]]) -> bool:
    row = rows[ticket.image_id]
    return (row["claim"], row["claimed_by"]) == (ticket.claim, ticket.owner)
