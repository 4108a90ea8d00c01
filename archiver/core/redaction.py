"""Taking secrets out of text that people and files will see: one function for every choke point.

A last line of defence: adapters already say no secret. It refuses to be clever; what looks like a credential goes.
"""

import hashlib
import re

# Every pattern reads a text once: no run of characters in which each one could begin a match without an end.
_URL_QUERY = re.compile(r"(https?://(?:[^\s?\"'<>h]|h(?!ttps?://))+)\?[^\s\"'<>]+", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(://)[^\s/?#:@\"'<>]*:[^\s/@\"'<>]+@")
# Between a name and its value: `=`, `: ` or `=>`, with the quotes of JSON (also JSON in JSON) and of Python around it.
_IS = r"(\\*[\"']?\s*(?:=>|[:=])\s*(?:b(?=\\*[\"']))?\\*[\"']?)"
# A header's value has spaces and commas in it: all of it goes, up to the quote or the end of its line.
_HEADER = re.compile(rf"(?i)(authorization|cookie){_IS}[^\r\n\"'\\]+")
_NAMED = re.compile(
    r"(?i)(signature|x-amz-[a-z0-9-]{1,40}|x-oss-(?:signature|credential)[a-z0-9-]{0,40}|security[-_]?token|api[-_]?key"
    rf"|access[-_]?key(?:[-_]?id)?|secret|password|passwd|token)\b{_IS}(?:bearer\s+)?[^\s\"',;&\\]+"
)
_BEARER = re.compile(r"(?i)\b(bearer\s+)(?=[a-z._~+/=-]*[0-9])[a-z0-9._~+/=-]{16,}")
_KEYS = re.compile(r"\b(sk-[A-Za-z0-9_-]{8,}|AKIA[A-Z0-9]{12,}|ASIA[A-Z0-9]{12,}|LTAI[A-Za-z0-9]{12,})")
_LONG_BASE64 = re.compile(r"[A-Za-z0-9+/=_-]{200,}")
# Without any of these there is nothing for the others to find, and of most texts that is all there is to know.
_SUSPECT = re.compile(rf"[:=]|(?i:bearer\s)|sk-|AKIA|ASIA|LTAI|{_LONG_BASE64.pattern}")


def redact(text: str) -> str:
    """`text` without signed queries, credentials, access keys and long base64. Running it again changes nothing."""
    if not _SUSPECT.search(text):
        return text
    text = _URL_QUERY.sub(_query, text)
    text = _URL_PASSWORD.sub(r"\1[redacted]@", text)
    for pattern in (_HEADER, _NAMED):
        text = pattern.sub(r"\1\2[redacted]", text)
    text = _BEARER.sub(r"\1[redacted]", text)
    text = _KEYS.sub(lambda match: match[1][:4] + "[redacted]", text)
    return _LONG_BASE64.sub("[redacted]", text)


def names_a_secret(name: str) -> bool:
    """Whether what stands under this name (of a column, a header, a field) is a credential whatever it looks like."""
    return redact(f"{name}=0") != f"{name}=0"


def _query(match: "re.Match[str]") -> str:
    if match[0].startswith(f"{match[1]}?[redacted]"):
        return match[0]
    return f"{match[1]}?[redacted]#{hashlib.sha256(match[0].encode()).hexdigest()[:8]}"
