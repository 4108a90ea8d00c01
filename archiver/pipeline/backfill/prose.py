"""Plain text, Markdown, chats written down, logs of applications and web servers: URLs between other words.

The prompt is what the line itself calls one; in Markdown the last `Prompt: ...` above, or what the person said last in
a chat; else the words of the picture, unless they say nothing. In an access log only a URL that is signed, or on a host
known for generated images, counts: the rest is what browsers fetch for a page.
"""

import json
import quopri
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from archiver.core.tempurl import TemporaryURL
from archiver.pipeline.backfill.finds import Beside, Find, Passed, has_evidence, in_text
from archiver.pipeline.backfill.walking import walk

_STAMP = re.compile(
    r"[\[(\"']?(?:time=|ts=|timestamp=)?[\"']?(\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?"
    r"(?:\s?(?:Z|[+-]\d\d:?\d\d))?)"
)
_ACCESS = re.compile(r"\[(\d{1,2}/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] \"")
_PROMPT = re.compile(
    r"(?<![a-z_-])(?:original_|user_|image_)?prompt\\*[\"']?\s*(?:[:=]|=>)\s*(?P<mark>\\*[\"'])", re.IGNORECASE
)
_BARE_PROMPT = re.compile(
    r"(?<![a-z_-])prompt=(?![\"'\\])(.+?)(?=\s+[\w.-]+=|\s+https?://|\s*[,;|]\s|\s*$)", re.IGNORECASE
)
_LABEL = re.compile(
    r"^\s*(?:[>#*_\-\s\[`]|\d+\.)*(?:(?P<prompt>(?:image )?prompt|/imagine(?: prompt)?|提示词|描述)"
    r"|(?P<person>user|you|human|me|用户|我|提问)|(?P<other>assistant|ai|bot|chatgpt|gpt-\S+"
    r"|gemini|midjourney bot|助手|回答))"
    r"(?:[*_\]`\s]|\([^)]*\))*(?:[:：](?P<colon>[*_`\s]*)(?P<text>.*)|$)",
    re.IGNORECASE,
)
_HEADING = re.compile(r"\s*(?:#{1,6}\s|---+\s*$|\*\*\*+\s*$)")
_ALT = re.compile(r"!\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(")
_SAYS_NOTHING = re.compile(
    r"\W*(?:(?:generated|result|output|ai|your|the|an?)?\W*(?:images?|img|pictures?|photos?|pic|file|download|图片?|图像|生成的?图片?|结果)"
    r"(?:\W*\d+)?(?:\.\w{3,4})?)?\W*|[\w-]+\.(?:png|jpe?g|webp)",
    re.IGNORECASE,
)
_QUOTED_PRINTABLE = re.compile(r"content-transfer-encoding:\s*quoted-printable", re.IGNORECASE)
LONGEST_PROMPT = 20_000


class Reader:
    """Reads lines one after the other, and remembers what was said above."""

    def __init__(self, head: str = "") -> None:
        self._prompt = ""
        self._listens = False
        self._is_mail = bool(_QUOTED_PRINTABLE.search(head))

    def read(self, lines: Iterable[str]) -> Iterator[Find | Passed]:
        """What every line holds."""
        soft, first = "", 0
        for number, line in enumerate(lines, start=1):
            if not self._is_mail:
                yield from self.line(number, line)
                continue
            text = soft + line.rstrip("\r\n")
            if text.endswith("=") and len(text) < 100_000:
                soft, first = text[:-1], first or number
                continue
            yield from self.line(first or number, quopri.decodestring(text.encode()).decode("utf-8", "replace"))
            soft, first = "", 0

    def line(self, number: int, line: str) -> Iterator[Find | Passed]:
        """What one line, or a piece of one, holds."""
        if "ttp" not in line:
            self._listen(line)
            return
        start = line[:200].lstrip()
        access = _ACCESS.search(line[:2000])
        stamp = _STAMP.match(start) if access is None else None
        if access is None and stamp is None:
            self._listen(line)
        if start[:1] in ("{", "["):
            try:
                value = json.loads(line, strict=False)
            except (ValueError, RecursionError):
                pass
            else:
                yield from (_item(number, *found) for found in walk(value, Beside(prompt=self._prompt)))
                return
        at = access[1] if access else stamp[1] if stamp else None
        near = Beside(prompt="" if at else self._prompt, created_at=at and _moment(at))
        told = "" if access else _told(line)
        found = list(in_text(line, shown=access is None))
        alts = [(match.start(), match[1]) for match in _ALT.finditer(line)] if "![" in line else []
        for url, is_image, place in found:
            words = told or near.prompt or next((alt for start, alt in alts if start == place), "")
            words = "" if words not in (told, near.prompt) and _SAYS_NOTHING.fullmatch(words) else words
            yield _item(
                number,
                url,
                is_image and (access is None or has_evidence(url)),
                replace(near, prompt=words.strip()[:LONGEST_PROMPT]),
            )

    def _listen(self, line: str) -> None:
        """Keep the prompt that a line tells, or that goes on."""
        label = _LABEL.match(line) if len(line) < LONGEST_PROMPT else None
        if label and (label["colon"] is not None or _HEADING.match(line) or line.lstrip().startswith("*")):
            if label["other"]:
                self._listens = False
                return
            text = re.sub(r"[*_`\s]+$", "", label["text"] or "").lstrip("*_` ")
            self._prompt = text
            self._listens = bool(label["person"]) or not text
        elif _HEADING.match(line):
            self._prompt, self._listens = ("", False) if line.lstrip().startswith("#") else (self._prompt, False)
        elif self._listens and (text := line.strip().lstrip("> ")) and "http" not in text:
            self._prompt = f"{self._prompt}\n{text}".strip()[:LONGEST_PROMPT]


def _told(line: str) -> str:
    """The prompt that a line names: `prompt="..."`, `"prompt": "..."`, also inside JSON that was put into a string."""
    found = _PROMPT.search(line)
    if found is None:
        bare = _BARE_PROMPT.search(line) if "rompt=" in line else None
        return bare[1].strip() if bare else ""
    mark, start = found["mark"], found.end()
    depth, sign = len(mark) - 1, mark[-1]
    end = start
    while (end := line.find(mark, end)) >= 0:
        before = end
        while before > start and line[before - 1] == "\\":
            before -= 1
        if end == before:  # as deeply escaped as the quote that opened it
            break
        end += len(mark)
    if end < 0:
        return ""
    text = line[start:end]
    for _ in range(1 if depth == 0 else 2):
        try:
            text = json.loads(f'"{text}"' if sign == '"' else '"' + text.replace("\\'", "'").replace('"', '\\"') + '"')
        except ValueError:
            break
    return text.encode("utf-8", "replace").decode()


def _moment(text: str) -> str:
    """A time of a log as ISO 8601 has it."""
    months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
    if (access := re.fullmatch(r"(\d{1,2})/([A-Z][a-z]{2})/(\d{4}):(\S+) ([+-]\d{4})", text)) and access[2] in months:
        day, month = int(access[1]), months.index(access[2]) + 1
        return f"{access[3]}-{month:02}-{day:02}T{access[4]}{access[5][:3]}:{access[5][3:]}"
    return text.replace("/", "-").replace(",", ".").replace(" +", "+").replace(" -", "-")


def _item(number: int, url: TemporaryURL, is_image: bool, near: Beside) -> Find | Passed:
    return Find(number=number, url=url, beside=near) if is_image else Passed(number=number, url=url)
