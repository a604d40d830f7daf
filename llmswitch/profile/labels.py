"""A model's label where nobody has written one: its id, in the form that its maker writes it."""

from __future__ import annotations

import re

from llmswitch.profile.providers import Provider, known_model

# How each maker writes its models' names, and what it puts before the version.
_FAMILIES = {
    "claude": "Claude ", "codestral": "Codestral ", "deepseek": "DeepSeek ",
    "devstral": "Devstral ", "gemini": "Gemini ", "gemma": "Gemma ", "glm": "GLM-", "gpt": "GPT-",
    "grok": "Grok ", "kimi": "Kimi ", "llama": "Llama ", "minimax": "MiniMax-",
    "mistral": "Mistral ", "qwen": "Qwen",
}  # fmt: skip
_FAMILY = re.compile(rf"(?:^|\.)({'|'.join(_FAMILIES)})(?=\d|[-_.: ]|$)", re.IGNORECASE)
_DATE = re.compile(r"[-_@]?(?<!\d)20\d{6}(?!\d)|-v\d+:\d+$")  # and the version of Bedrock
_WORDS = {"for": "for", "oss": "OSS", "vl": "VL"}
_LONGEST = 60  # characters, as in a profile


def proper_label(provider: Provider, model_id: str) -> str | None:
    """The label of a provider's model: the catalogue's, else that of its id; None for what neither
    knows.
    """
    known = known_model(provider, model_id)
    return known.label if known and known.label else label_of(model_id)


def label_of(model_id: str) -> str | None:
    """The label of an id of a known family ("glm-4.5-air" is GLM-4.5 Air), else None. The vendor
    and the cloud before it, a date and `:latest` are left out.
    """
    short = _DATE.sub("", model_id.rpartition("/")[2]).removesuffix(":latest")
    family = _FAMILY.search(short)
    if family is None:
        return None
    name = _FAMILIES[family[1].lower()]
    words = [_word(word) for word in re.split(r"[-_: ]+", short[family.end() :]) if word]
    rest = re.sub(r"\b(\d{1,2}) (?=\d{1,2}(?: |$))", r"\1.", " ".join(words))
    return f"{name}{rest}"[:_LONGEST].rstrip(" -")


def _word(word: str) -> str:
    if known := _WORDS.get(word.lower()):
        return known
    word = re.sub(r"^(\d+)p(\d+)$", r"\1.\2", word)  # as Fireworks writes 5.3
    if re.fullmatch(r"\d+(\.\d+)?[bkm]|[a-z]\d[\w.]*", word):  # 30b, v3.2
        return word.upper()
    return word[:1].upper() + word[1:]
