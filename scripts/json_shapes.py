"""What `--json` prints: every field of every command, with its type and meaning.

Words only; `json_page.py` makes docs/json.md of them, and tests/shells/test_json.py holds both against what the
commands print. A field is never taken away or given another meaning here: that would break what people have built.
"""

#: Types, as the page explains them. `?` after one of them: or null.
TYPES = {
    "text": "text",
    "int": "whole number",
    "number": "number",
    "usd": "number, US dollars",
    "seconds": "number, seconds",
    "bool": "true or false",
    "time": "text, a time",
    "texts": "list of texts",
    "object": "object",
    "objects": "list of objects",
    "any": "any JSON",
}
#: Fields that mean the same wherever they stand.
SHARED = {
    "image_id": ("text", "the image, a ULID in lower case"),
    "generation_id": ("text", "the request that made it, or was to"),
    "prompt": ("text", "the prompt as it was sent"),
    "job": ("text?", "the job of the configuration; null for `generate` and backfills"),
    "provider": ("text", "the provider's name in the configuration"),
    "model": ("text", "the model that was asked for"),
    "state": ("text", "one of the states in docs/reference.md"),
    "deadline": ("time", "when the temporary link is believed to die"),
    "deadline_from": (
        "text",
        "what says so: `url`, `header`, `host`, `provider`, `default`, or `inline` (no link)",
    ),
    "attempts": ("int", "how often it was tried"),
    "not_before": ("time?", "the next attempt is not before this; null: at once, or never"),
    "sha256": ("text?", "digest of the bytes in hexadecimal; null before they were had"),
    "size": ("int?", "bytes"),
    "content_type": ("text?", "by the bytes themselves, for example `image/png`"),
    "width": ("int?", "pixels"),
    "height": ("int?", "pixels"),
    "verdict": ("text?", "what the bytes were found to be: `ok`, or what is odd with them"),
    "source": ("text?", "the temporary link without its signature; null where the answer held the bytes"),
    "error": ("text?", "what went wrong last"),
    "created_at": ("time", "when it came into the catalogue"),
    "submitted_at": ("time?", "when it was sent to the provider"),
    "answered_at": ("time?", "when the provider had answered"),
    "fetched_at": ("time?", "when the bytes were here"),
    "archived_at": ("time?", "when every wanted copy was confirmed"),
    "written_off_at": ("time?", "when an operator gave it up"),
    "role": ("text", "`final`, or `draft` for an intermediate image"),
    "tags": ("texts", "the tags of the request"),
    "parameters": ("any", "an object: what was said besides, in the provider's own words"),
    "inputs": ("texts", "files and `image:ID` that go into the request"),
    "key": ("text?", "the full key of the first confirmed copy"),
    "n": ("int", "how many images were asked for"),
    "price_usd": ("usd?", "what it cost, else what it is expected to cost; null: nobody knows"),
    "cost_usd": ("usd?", "what the request cost, divided by its images; null: nobody knows"),
    "store": ("text", "the store's name in the configuration"),
    "request_id": ("text?", "the provider's own id of the request"),
    "expected_usd": ("usd?", "what it was expected to cost; null: nobody knows"),
}
_LISTED = (
    "image_id generation_id state prompt job provider:text? model:text? deadline deadline_from attempts not_before"
    " sha256 size content_type width height verdict source error created_at fetched_at archived_at"
)
_GENERATION = (
    "generation_id state prompt job provider:text? model:text? n price_usd created_at submitted_at answered_at"
    " not_before written_off_at error"
)
_SUMS = "generations images cost_usd unpriced unknown unknown_usd unknown_unpriced reused saved_usd"
_COUNTS = "total successful failed unknown open success_rate"
_LINEAGE = (
    "prompt job provider:text? model:text? generation_id image_id parent_image_id created_at archived_at store"
    " key sha256 size content_type width height cost_usd revised_prompt tags requested_size"
    " parameters continues role inputs"
)
_WISH = "prompt size:text? n tags inputs parameters"


_HELD = "schema images images.* generations generations.* copies urls last_event"


def _below(place: str, names: str) -> str:
    return " ".join(f"{place}.{name}" for name in names.split())


#: Command: what one element of the array is, and its fields. `a.b` is inside an object, `a[].b` in each element of a
#: list, `a.*` under every name of an object; `name:type` has another type than in `SHARED`.
SHAPES: dict[str, tuple[str, str]] = {
    "demo": ("a confirmed copy, as in `lineage`; with --dry-run nothing is printed", _LINEAGE),
    "config show": ("a setting", "key value origin"),
    "run --once --dry-run": (
        "a tick that is due; without --dry-run nothing is printed",
        f"job:text tick prompts wishes {_below('wishes[]', _WISH)}",
    ),
    "generate": ("a confirmed copy, as in `lineage`", _LINEAGE),
    "generate --dry-run": ("a request that would be made", _WISH),
    "drain --dry-run": ("an image that would be tried; without --dry-run nothing is printed", _LISTED),
    "providers list": (
        "a provider",
        """
            provider kind model address concurrency pace burst on_unknown lifetime price_usd price_from
            last_success_at last_error last_error_at
        """,
    ),
    "providers test": (
        (
            "the trial, the only element; what begins with `image_` is of the last image and missing without one;"
            " with --dry-run nothing is printed"
        ),
        """
            generation state shape latency_s request_id price_usd error image image_state image_type image_size
            image_pixels expires deadline:text key:texts
        """,
    ),
    "jobs": ("a job", "job:text schedule zone enabled provider stores ticks last_tick next_tick"),
    "images": ("an image", f"{_LISTED} role tags cost_usd key"),
    "search": ("an image, as in `images`", f"{_LISTED} role tags cost_usd key"),
    "at-risk": (
        "a row of the view `at_risk`",
        "image_id prompt job state deadline deadline_from attempts not_before source error",
    ),
    "losses": (
        "a row of the view `losses`",
        "image_id generation_id prompt job provider:text? source deadline deadline_from attempts error created_at",
    ),
    "generations": ("a generation", _GENERATION),
    "batches": (
        "a batch",
        """
            batch_id provider state handle said n done failed created_at submitted_at ended_at collected_at expires_at
            error age_s age next_look_at
        """,
    ),
    "resolve": ("the generation as it stands now, the only element", _GENERATION),
    "costs": (
        "everything, the only element",
        f"""
            by zone since until rows rows[].day {_below("rows[]", _SUMS)} total:object {_below("total", _SUMS)}
            forecast forecast.based_on_usd forecast.based_on_days forecast.per_day_usd forecast.next_30_days_usd
            forecast.month forecast.month_so_far_usd forecast.month_usd budgets budgets[].scope budgets[].period
            budgets[].spent_usd budgets[].limit_usd
        """,
    ),
    "refunds": (
        "a generation that was paid for, or may have been, in vain",
        """
            generation_id what provider model request_id task submitted_at answered_at n images:int expected_usd error
            written_off_at finish_reason
        """,
    ),
    "show": (
        "an image; of a generation without any, one element in which what belongs to an image is null",
        """
            image_id:text? generation_id state:text? prompt job provider:text? model:text? deadline:time?
            deadline_from:text? attempts:int? not_before sha256 size content_type width height verdict source error
            created_at:time? fetched_at archived_at role:text? number parent_image_id give_up_at revised_prompt
            cost_usd parents children evidence evidence[].source:text evidence[].at evidence[].detail
            evidence[].lower_bound generation:object generation.origin generation.size:text? generation.n
            generation.state generation.attempts generation.tags generation.metadata generation.created_at
            generation.submitted_at generation.answered_at generation.request_id generation.cost_usd generation.error
            generation.expected_usd generation.scheduled_for generation.stores generation.parameters
            generation.continues generation.handle generation.batch_id generation.reused_from generation.not_before
            generation.written_off_at generation.facts generation.inputs:objects generation.inputs[].sha256:text
            generation.inputs[].content_type:text generation.inputs[].path generation.inputs[].image_id:text? copies
            copies[].store copies[].state copies[].key copies[].sha256 copies[].size copies[].etag copies[].proof
            copies[].confirmed_at copies[].lineage_key events events[].at events[].kind events[].store:text?
            events[].detail
        """,
    ),
    "lineage": ("a confirmed copy: a row of the view `lineage`", _LINEAGE),
    "tree": (
        "a relation; an image that is reached by several ways stands there for each",
        "direction depth image_id of how state role prompt created_at key",
    ),
    "query": ("a row, under the names of your own SELECT; bytes are hexadecimal text", "*"),
    "stats": (
        "everything, the only element",
        f"""
            since requests requests[].provider {_below("requests[]", _COUNTS)} total:object {_below("total", _COUNTS)}
            asked_to_answered_s {_below("asked_to_answered_s", "n mean p50 p95")} answered_to_archived_s
            {_below("answered_to_archived_s", "n mean p50 p95")} attempts:object attempts.* copy_attempts
            copy_attempts.* errors errors[].kind errors[].n errors[].example grade advice
        """,
    ),
    "status": (
        "everything, the only element",
        """
            images:object images.* generations:object generations.* copies:object copies.* at_risk nearest_deadline
            oldest_unarchived unknown_generations unknown_price_usd unknown_without_price stored_last_24h
            bytes_last_24h waiting_for_providers waiting_for_providers.* waiting_for_providers.*.generations
            waiting_for_providers.*.until waiting_for_providers.*.error budgets budgets[].scope budgets[].period
            budgets[].spent_usd budgets[].limit_usd alerts alerts[].kind alerts[].level alerts[].text alerts[].subject
        """,
    ),
    "doctor": ("a check", "subject check verdict text advice"),
    "check": ("a finding; of each kind the first are named", "word count store image_id:text? key detail fate"),
    "repair": ("a finding, and what became of it", "word count store image_id:text? key detail fate"),
    "backup": ("a store", "store key size sha256 images generations urls error"),
    "restore": (
        "not an array: one object",
        f"""
        store key taken_at drill digest_verified snapshot {_below("snapshot", _HELD)} live {_below("live", _HELD)}
        in_doubt batches jobs unknown_answers unknown_spool_files set_aside
        """,
    ),
    "restore --list": ("a snapshot, the newest first", "taken_at size store key"),
    "prune": ("something that can go, or has gone", "what where count bytes oldest"),
    "forget": ("something that would go, or has gone", "what where count note"),
    "db migrate": ("not an array: one object", "path from to steps dry_run"),
    "db vacuum": ("not an array: one object", "before after"),
    "rebuild": (
        "not an array: one object",
        "counts counts.* named named[].word named[].store named[].key:text named[].reason",
    ),
}
