"""Takes out of a text what must not stand in a public issue: credentials, and who the user is.

What is known to be secret is taken out by its value; the rest by what it looks like. In doubt it
goes: a report with a word too few is still a report.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

HIDDEN = "REDACTED"
_SHORTEST = 4  # characters of a value that is looked for: a shorter one would be in every word
_CALLED = r"api[-_]?key|access[-_]?key|master[-_]?key|token|secret|passw(?:or)?d|credential"
_NAME = re.compile(rf"{_CALLED}|_key$|auth$|cookie", re.IGNORECASE)
# What stands after the name of a secret and is none: numbers, names of variables, no value.
_HARMLESS = r"os\.environ/|llmswitch\.|[\d.,e+-]{1,12}(?![\w-])|(?:none|null|true|false|not|is)\b"
_PATTERNS = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), put)
    for pattern, put in (
        (r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", HIDDEN),
        (r"(://)[^/\s@\"']+@", rf"\1{HIDDEN}@"),
        (r"\b((?:set-)?cookie[\"']?\s*[:=,]\s*b?[\"']?)[^\n\"']+", rf"\1{HIDDEN}"),
        (r"\b(bearer|basic)\s+[\w.~+/=-]{4,}", rf"\1 {HIDDEN}"),
        (
            (
                rf"((?:{_CALLED}|authorization|[-_]auth|[-_]cookie)[\w-]*"
                rf"(?:[\"']?\s*[:=]\s*[\"']?|[\"'],\s*b?[\"'])(?:(?:bearer|basic)\s+)?)"
                rf"(?!{_HARMLESS})[^\s\"',;&}})]+"
            ),
            rf"\1{HIDDEN}",
        ),
        # The forms of keys that vendors give out, wherever they stand.
        (r"\b(?:sk|pk|rk|csk|xai|nvapi|pplx|r8)[-_][\w-]{6,}", HIDDEN),
        (r"\b(?:gsk|hf|fw|tgp|gh[opsur]|github_pat|glpat)[-_]\w{6,}", HIDDEN),
        (r"\bAIza[\w-]{10,}|\bya29\.[\w-]+|\b(?:AKIA|ASIA)[A-Z0-9]{12,}", HIDDEN),
        (r"\beyJ[\w-]+(?:\.[\w-]+)+", HIDDEN),
        (r"\b[0-9a-f]{32}\.\w{6,}", HIDDEN),
        # Whatever else is too long and too mixed to be a word.
        (r"(?<![\w/.-])(?=[\w+-]*\d)(?=[\w+-]*[a-z])[\w+-]{32,}={0,2}(?![\w/.])", HIDDEN),
    )
)


def is_secret(name: str) -> bool:
    """Whether a variable of this name is likely to hold a credential."""
    return bool(_NAME.search(name))


def redact(text: str, secrets: Iterable[str], home: Path, who: Mapping[str, str]) -> str:
    """The text without these secrets, without anything that looks like one, with `~` for the home
    folder and, for each name in `who` (the user's, the machine's), the word that stands for it.
    """
    for secret in sorted((s for s in secrets if len(s) >= _SHORTEST), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    for pattern, put in _PATTERNS:
        text = pattern.sub(put, text)
    text = text.replace(str(home), "~")
    for name, put in who.items():
        if name:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", put, text, flags=re.IGNORECASE)
    return text
