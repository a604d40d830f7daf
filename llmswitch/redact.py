"""Takes out of a text what must not stand in a public issue: credentials, and who the user is.

What is known to be secret is taken out by its value; the rest by what it looks like. In doubt it
goes: a report with a word too few is still a report. Every repetition is bounded, so that no line
of a log makes it slow.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

HIDDEN = "REDACTED"
_SHORTEST = 4  # characters of a value that is looked for: a shorter one would be in every word
_SHORTEST_LINE = 8  # likewise of one line of a value that has several
_LONGEST_LINE = 4000  # characters; the rest of a longer one is cut off
_CALLED = (
    r"api[-_]?key|access[-_]?key|master[-_]?key|private[-_]?key|token(?!s|iz)|secret|passw(?:or)?d"
    r"|pwd|credential|signature"
)
_NAME = re.compile(rf"{_CALLED}|_key$|auth$|cookie", re.IGNORECASE)
_NAMED = rf"(?:{_CALLED}|authorization|[-_]auth|[-_]cookie|\bkey(?=\s?=))[\w-]{{0,64}}"
_QUOTE = r"\\*[\"']"
_LINE = r"[^\n]{1,500}"
_IS = r"\s{0,20}(?:[:=]|%3D)\s{0,20}"
# What stands after the name of a secret and is none: names of variables, of functions, no value.
_HARMLESS = re.compile(
    r"os\.environ/|llmswitch\.|(?:none|null|true|false|not|is|field|unexpected|failed)(?!\S)"
)
_NUMBER = re.compile(r"[\d.,e+-]{1,12}")
# The name of a secret, and its value behind it: quoted, as a block of YAML, or bare.
_VALUES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"({_NAMED}(?:(?:{_QUOTE})?{_IS}|{_QUOTE},\s{{0,20}})b?{_QUOTE})([^\"'\n\\]{{1,500}})",
        rf"({_NAMED}{_IS}[|>][+-]?\n[ \t]{{1,40}})({_LINE}(?:\n[ \t]+{_LINE}){{0,50}})",
        rf"({_NAMED}(?:{_QUOTE})?{_IS}(?:-\s)?)(?![|>])((?:(?:bearer|basic)\s+)?[^\s\"',;&}})\\]{{1,500}})",
    )
)
# The forms of keys that vendors give out, wherever they stand; a vendor may put * into its own.
_KEYS = (
    r"\b(?:sk|pk|rk|csk|xai|nvapi|pplx|r8|tvly|sess|xox[abp])[-_][\w*-]{6,}",
    r"\b(?:gsk|hf|fw|tgp|gh[opsur]|github_pat|glpat)[-_]\w{6,}",
    r"\bAIza[\w-]{10,}|\bya29\.[\w-]+|\b(?:AKIA|ASIA)[A-Z0-9]{12,}",
    r"\beyJ[\w-]+(?:\.[\w-]+)+",
    r"\b[0-9a-f]{32}\.\w{6,}",
)
_KEY = re.compile("|".join(_KEYS), re.IGNORECASE)
_BEARER = re.compile(r"\b(bearer)\s{1,20}[\w.~+/=*-]{4,}", re.IGNORECASE)
_FORMS = tuple(
    (re.compile(pattern, re.IGNORECASE), put)
    for pattern, put in (
        (
            (
                r"-----BEGIN [A-Z ]{1,40}-----(?:[\w+/=\s\\:,]|-(?!----))*"
                r"(?:-----END [A-Z ]{1,40}-----)?"
            ),
            HIDDEN,
        ),
        (r"(://)[^\s\"'<>]{1,300}@", rf"\1{HIDDEN}@"),
        (r"\b((?:set-)?cookie(?:\\*[\"'])?\s{0,20}[:=,]\s{0,20}b?[\"']?)[^\n\"']+", rf"\1{HIDDEN}"),
        (r"\b(bearer|basic)(\s{1,20}|%20)[\w.~+/=%-]{4,}", rf"\1\2{HIDDEN}"),
        (r"([?&](?:key|sig|signature)=)[^&\s\"']+", rf"\1{HIDDEN}"),
        *((pattern, HIDDEN) for pattern in _KEYS),
        (r"(https://hooks\.slack\.com/)\S+", rf"\1{HIDDEN}"),
        # Whatever else is too long and too mixed to be a word.
        (
            r"(?<![\w/.+-])(?=[a-z+_-]*\d)(?=[\d+_-]*[a-z])[\w+-]{32,}={0,2}(?![\w/.])",
            HIDDEN,
        ),
    )
)


def is_secret(name: str) -> bool:
    """Whether a variable of this name is likely to hold a credential."""
    return bool(_NAME.search(name))


def in_url(value: str) -> list[str]:
    """The user and the password of a URL; nothing for what is none."""
    try:
        parts = urlsplit(value)
    except ValueError:
        return []
    return [part for part in (parts.username, parts.password) if part]


def without_keys(text: str, secrets: Iterable[str]) -> str:
    """The text without these secrets and without what looks like a key; all else stays."""
    return _BEARER.sub(rf"\1 {HIDDEN}", _KEY.sub(HIDDEN, _without(text, secrets)))


def redact(text: str, secrets: Iterable[str], home: Path, who: Mapping[str, str]) -> str:
    """The text without these secrets, without anything that looks like one, with `~` for the home
    folder and, for each name in `who` (the user's, the machine's), the word that stands for it.
    """
    text = "\n".join(line[:_LONGEST_LINE] for line in text.split("\n"))
    text = _without(text, secrets)
    for pattern, put in _FORMS:
        text = pattern.sub(put, text)
    for pattern in _VALUES:
        text = pattern.sub(_hide, text)
    text = with_tilde(text, home).replace(quote(str(home), safe=""), "~")
    for name, put in who.items():
        if len(name) > 1:
            whole = rf"(?<![a-z]){re.escape(name)}(?![a-z])"
            text = re.sub(whole, put, text, flags=re.IGNORECASE)
    return text


def with_tilde(text: str, home: Path) -> str:
    """The text with `~` for the home folder, where a path begins with it outside quotes."""
    if not home.is_absolute() or home == Path("/"):
        return text
    return re.sub(rf"(?<![\w'/~.-]){re.escape(str(home))}(?=[/\s:;,\"')]|$)", "~", text)


def _without(text: str, secrets: Iterable[str]) -> str:
    written = {form for secret in secrets for form in _written(secret)}
    for form in sorted(written, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    return text


def _written(secret: str) -> Iterator[str]:
    """The ways in which a secret may be written: as it is, escaped, encoded, by its lines."""
    lines = [line for line in secret.splitlines() if len(line) >= _SHORTEST_LINE]
    for value in {secret, secret.strip("\"' "), *lines}:
        if len(value) >= _SHORTEST:
            yield from (value, quote(value, safe=""), json.dumps(value)[1:-1], repr(value)[1:-1])
            yield b64encode(value.encode(errors="surrogateescape")).decode()


def _hide(match: re.Match[str]) -> str:
    named, value = match.groups()
    counted = "token" in named.lower() and _NUMBER.fullmatch(value)
    return match[0] if counted or _HARMLESS.match(value) else named + HIDDEN
