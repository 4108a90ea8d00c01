"""What carried a URL is taken off, and the URL itself is left alone."""

import random
import string

import pytest

from archiver.core.tempurl import TemporaryURL, unescape_url

SERVED = "https://h/a.png?Expires=1762956644&OSSAccessKeyId=LTAI&Signature=b%2Bc%3D"


@pytest.mark.parametrize(
    "carried",
    [
        SERVED.replace("&", "\\u0026"),
        SERVED.replace("&", "\\U0026".lower()).replace("=", "\\u003d").replace("/", "\\/"),
        SERVED.replace("&", "\\\\u0026"),
        SERVED.replace("&", "&amp;"),
        SERVED.replace("&", "&amp;amp;"),
        SERVED.replace("&", "&#38;"),
        SERVED.replace("&", "&#x26;"),
        SERVED.replace("&", "%26"),
        f"({SERVED}).",
        f"<{SERVED}>,",
        f' "{SERVED}",\n',
        f"'{SERVED}'.",
        f"`{SERVED}`",
        f"{SERVED}\\",
        f"{SERVED}]",
        f"{SERVED}\uff0c",
        f"{SERVED}\u3002\u300d",
    ],
)
def test_carrier_escaping_is_undone(carried: str) -> None:
    """What JSON, HTML and prose put around a URL goes; the result is the URL that was served, byte for byte."""
    assert unescape_url(carried) == SERVED


@pytest.mark.parametrize(
    "text",
    [
        SERVED,
        "https://cdn.discordapp.com/attachments/1/2/image.png?ex=65d903de&is=65c68ede&hm=aa&",
        "https://en.wikipedia.org/wiki/Bank_(river)",
        "http://[2001:db8::1]",
        "https://h/a.png?name=a%26b=c",
        "https://h/a.png?v=1&name=a%26Expires=1762956644",
        "https://h/a.png?Expires=1762956644&Signature=a&disposition=x%26Expires=5",
        "https://h/a.png?u=https%3A%2F%2Fx%3Fa%26b",
        "https://h/a%5C%22.png?x=%26amp%3B",
    ],
)
def test_url_that_was_not_wrapped_is_not_touched(text: str) -> None:
    """Also a percent-encoded separator inside a value, a balanced bracket and Discord's last `&` stay."""
    assert unescape_url(text) == text


def test_unescaping_is_stable_on_random_text() -> None:
    """A second pass changes nothing, and no text makes it fail."""
    seed = 11
    print("seed", seed)
    rng = random.Random(seed)
    pieces = ["https://h/", "?", "&", "%26", "&amp;", "\\u0026", "\\ud800", "Expires=17", "(", *string.punctuation, "a"]
    for _ in range(3000):
        once = unescape_url("".join(rng.choices(pieces, k=rng.randrange(30))))
        try:
            TemporaryURL(once)
        except ValueError:
            continue
        assert unescape_url(once) == once
