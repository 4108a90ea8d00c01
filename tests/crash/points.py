"""The named crash points: where a process dies, and in what surroundings.

Each is a function of archiver (or one that it calls) by name, so that a renamed function fails its test instead of
being skipped. CP numbers say what the point means to a reader of failure analyses; several points may share one.
"""

from dataclasses import dataclass

PROMPTS = ("a lighthouse at dusk", "月球上的猫")
"""Two prompts with two images each: enough for the first of something and the second of it."""
IMAGES_PER_PROMPT = 2


@dataclass(frozen=True, slots=True)
class Point:
    """One place to die: `at` in the words of `dying`, in the surroundings `setup`.

    Setups: `plain` (an OSS double), `inline` (base64 answers), `blind` (a store whose replies prove nothing), `two`
    (OSS and a folder), `tasks` (work is accepted first, and polled), `failing` (the store refuses its first puts, so
    that every image is rescued to the spool).
    `unknown` is how many outcomes nobody can know afterwards; None where a thread dies that is not the asker's, so that
    it depends on what the asker was doing. `then` is where the next process dies, while it takes over.
    """

    name: str
    at: str
    setup: str = "plain"
    unknown: int | None = None
    then: str | None = None

    def __str__(self) -> str:
        return self.name


_MIGRATING = "in sqlite_utils.migrations:Migrations.apply"
_INBOX = "archiver.pipeline.inbox"
_SPOOL = "archiver.pipeline.spool"
_POLLING = "archiver.pipeline.polling"
_POLL = f"in {_POLLING}:Polling.collect"
_ASKING = "archiver.catalogue.generations"
_KEEPING = "archiver.catalogue.images"
_OBJECTS = "archiver.stores.objects:ObjectStore"
_FINISH = f"in {_INBOX}:AnswerFile.finish"
_KEEP = f"in {_SPOOL}:Spool.keep"
_PUT = "in archiver.pipeline.transfer:Carrier._put"
_FOLDER = "in archiver.stores.local:LocalStore._write"

POINTS = (
    # opening and planning
    Point("CP25 migration, half done", f"after sqlite_utils.db:Database.execute #12 {_MIGRATING}", unknown=0),
    Point("CP25 migration done", "after archiver.catalogue:migrate #1", unknown=0),
    Point("owner known", "after archiver.catalogue.owners:Owner.__init__ #1", unknown=0),
    Point(
        "CP28 tick claimed, one of two prompts planned",
        "after archiver.catalogue.ticks:insert_generation #1",
        unknown=0,
    ),
    Point("CP28 tick claimed", "after archiver.catalogue.ticks:Ticks.plan #1", unknown=0),
    # asking
    Point("CP01 before the intent", f"before {_ASKING}:Generations.begin_submit #1", unknown=0),
    Point("CP02 after the intent", f"after {_ASKING}:Generations.begin_submit #1", unknown=1),
    Point("CP02 a place for the answer", f"after {_INBOX}:Inbox.open #1", unknown=1),
    Point("CP03 request sent", "before http.client:HTTPConnection.getresponse #1", unknown=1),
    Point("CP03 head of the answer read", "after http.client:HTTPConnection.getresponse #1", unknown=1),
    Point("CP04 first line of the answer written", f"after {_INBOX}:AnswerFile.write #1", unknown=1),
    Point("CP04 answer written", f"after {_INBOX}:AnswerFile.write #2", unknown=0),
    Point("CP04 answer not flushed to the disk", f"before os:fsync #1 {_FINISH}", unknown=0),
    Point("CP05 answer flushed", f"after os:fsync #1 {_FINISH}", unknown=0),
    Point("CP05 answer renamed", f"after pathlib:Path.rename #1 {_FINISH}", unknown=0),
    Point("CP06 folder flushed", f"after {_INBOX}:AnswerFile.finish #1", unknown=0),
    Point("CP06 second answer whole", f"after {_INBOX}:AnswerFile.finish #2", unknown=0),
    Point("CP07 one of two images recorded", f"after {_ASKING}:insert_arrival #1", unknown=0),
    Point("CP08 answer recorded", f"after {_ASKING}:Generations.complete #1", unknown=0),
    Point("CP07 inline image spooled, not recorded", f"after {_SPOOL}:Spool.keep #1", "inline", unknown=0),
    Point("CP07 inline images spooled, one recorded", f"after {_ASKING}:insert_arrival #1", "inline", unknown=0),
    Point("CP08 inline answer recorded", f"after {_ASKING}:Generations.complete #1", "inline", unknown=0),
    # tasks: accepted, then polled
    Point("CP03 task made, its handle unread", "before http.client:HTTPConnection.getresponse #1", "tasks", unknown=1),
    Point("CP06 handle on disk, not read", f"after {_INBOX}:AnswerFile.finish #1", "tasks", unknown=0),
    Point("CP08 before accepted", f"before {_ASKING}:Generations.accept #1", "tasks", unknown=0),
    Point("CP08 accepted", f"after {_ASKING}:Generations.accept #1", "tasks", unknown=0),
    Point("CP08 accepted, answer discarded", f"after {_INBOX}:Inbox.discard #1", "tasks", unknown=0),
    Point("poll: taken", f"before {_POLLING}:Polling.collect #1", "tasks"),
    Point("poll: answer arrives", f"after {_INBOX}:AnswerFile.write #1 {_POLL}", "tasks"),
    Point("poll: still running, file gone", f"after {_INBOX}:AnswerFile.discard #1", "tasks"),
    Point("poll: still running, told", "after archiver.catalogue.awaiting:Awaiting.polled #1", "tasks"),
    Point("poll: result not flushed", f"before {_INBOX}:AnswerFile.finish #1 {_POLL}", "tasks"),
    Point("poll: result whole, not read", f"after {_INBOX}:AnswerFile.finish #1 {_POLL}", "tasks"),
    Point("poll: one of two images recorded", f"after {_ASKING}:insert_arrival #1", "tasks"),
    Point("poll: result recorded", f"after {_ASKING}:Generations.complete #1", "tasks"),
    # fetching
    Point("CP09 claimed", "before archiver.pipeline:Pipeline.copy #1"),
    Point("CP10 fetching", "before archiver.transport.body:BodyWriter.write #1"),
    Point("CP10 last bytes fetched", "before archiver.transport.body:BodyWriter.finish #2"),
    Point("CP11 rescue half done", f"before os:fsync #1 {_KEEP}", "failing"),
    Point("CP11 rescued file renamed", f"after pathlib:Path.rename #1 {_KEEP}", "failing"),
    Point("CP11 rescued, not recorded", f"after {_SPOOL}:Spool.keep #2", "failing"),
    Point("CP12 rescue recorded", f"after {_KEEPING}:Images.settle #1", "failing"),
    # putting
    Point("CP13 before the put", f"before {_OBJECTS}.put_new #1 {_PUT}"),
    Point("CP13 put done, reply unread", f"before archiver.transport.reply:Head.read #1 {_PUT}"),
    Point("CP14 reply read", f"after archiver.transport.engine:CurlEngine.send #1 {_PUT}"),
    Point("CP14 copy confirmed", f"after {_OBJECTS}.put_new #2 {_PUT}"),
    Point("CP15 before reading back", f"before {_OBJECTS}._read_back #1 {_PUT}", "blind"),
    Point("CP15 read back", f"after {_OBJECTS}._read_back #1 {_PUT}", "blind"),
    Point("CP16 one store of two", f"after {_OBJECTS}.put_new #1 {_PUT}", "two"),
    Point("CP16 both stores", f"after archiver.stores.local:LocalStore.put_new #1 {_PUT}", "two"),
    Point("CP13 folder: written, not flushed", f"before os:fsync #1 {_FOLDER}", "two"),
    Point("CP13 folder: before it gets its name", f"before os:link #1 {_FOLDER}", "two"),
    Point("CP14 folder: named", f"after os:link #1 {_FOLDER}", "two"),
    # settling
    Point("CP17 before the lineage record", "before archiver.pipeline.lineage:write #1"),
    Point("CP17 lineage record written", "after archiver.pipeline.lineage:write #1"),
    Point("CP17 record in one store of two", "after archiver.pipeline.lineage:write #1", "two"),
    Point("CP18 settled, not committed", f"after {_KEEPING}:write_settlements #1"),
    Point("CP18 stored", f"after {_KEEPING}:Images.settle #1"),
    Point("CP18 last batch stored", f"before {_INBOX}:Inbox.discard #2"),
    Point("CP20 answer discarded", f"after {_INBOX}:Inbox.discard #1"),
    Point("CP20 before the spool file goes", f"before {_SPOOL}:Spool.discard #1", "inline"),
    Point("CP20 spool file gone", f"after {_SPOOL}:Spool.discard #1", "inline"),
    Point("CP19 before the log is emptied", "before archiver.catalogue:Catalogue.scrub #2"),
    Point("CP19 log emptied", "after archiver.catalogue:Catalogue.scrub #2"),
    Point("CP26 before the checkpoint at the start", "before archiver.catalogue.database:Database.truncate_wal #1"),
    Point("before the owner leaves", "before archiver.catalogue.owners:Owner.close #1"),
    # taking over: a second death, in the recovery from the first
    Point(
        "recovery: answer salvaged, not read",
        f"after {_INBOX}:AnswerFile.write #2",
        unknown=0,
        then=f"after {_INBOX}:Inbox.adopt #1",
    ),
    Point(
        "recovery: answer set aside, doubt not recorded",
        f"after {_INBOX}:AnswerFile.write #1",
        unknown=1,
        then=f"after {_INBOX}:Inbox.set_aside #1",
    ),
    Point(
        "recovery: answer about to be recorded",
        f"after {_INBOX}:AnswerFile.finish #1",
        unknown=0,
        then=f"before {_ASKING}:Generations.complete #1",
    ),
    Point(
        "recovery: who polled is gone",
        f"before {_POLLING}:Polling.collect #1",
        "tasks",
        then="after archiver.catalogue.awaiting:Awaiting.free #1",
    ),
    Point(
        "recovery: claims freed",
        "before archiver.pipeline:Pipeline.copy #1",
        then=f"after {_KEEPING}:Images.free #1",
    ),
    Point(
        "recovery: rescued bytes adopted",
        f"after {_SPOOL}:Spool.keep #1",
        "failing",
        then=f"after {_KEEPING}:Images.adopt_rescued #1",
    ),
)
