"""Asks providers which models they have, each at its own host, with its own key and no other.

No redirect is followed: it could lead a key elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from llmswitch.paths import LOOPBACK, Home, locked, write_private
from llmswitch.profile.providers import Provider, api_base

TIMEOUT = 8.0  # seconds
_OK, _REDIRECT, _REFUSED, _MISSING = 200, range(300, 400), (401, 403), 404
_WINDOWS = (
    "context_length",
    "max_input_tokens",
    "context_window",
    "max_context_length",
    "max_model_len",
)
_PRICES = {"prompt": "input", "completion": "output", "input_cache_read": "cache_read"}


class Answer(NamedTuple):
    """What a provider said. `models` are dicts with an id and, where it told them, a context in
    tokens and a price in USD per million; `trouble` says why there are none, `refused` that it is
    because of the key.
    """

    models: list[dict[str, Any]]
    trouble: str | None = None
    refused: bool = False


def ask_models(provider: Provider, key: str | None, seconds: float | None = None) -> Answer:
    """The models that a provider lists to whoever has this key; it is given so many seconds."""
    url = _own(provider, provider.models_url) or _list_url(provider)
    return _ask(provider, url, key, seconds)


def check_key(provider: Provider, key: str) -> Answer:
    """Whether a provider takes a key, by the cheapest request there is. What anyone may ask proves
    nothing, and is told as trouble.
    """
    url = _own(provider, provider.key_url)
    if url:
        return _ask(provider, url, key)._replace(models=[])
    answer = ask_models(provider, key)
    if answer.trouble is None and ask_models(provider, None).trouble is None:
        return answer._replace(
            trouble="lists its models to anyone, which proves nothing about the key"
        )
    return answer


def _own(provider: Provider, url: str | None) -> str | None:
    """A URL of the catalogue, if it is at the host that the provider is spoken to at: a profile may
    have another `base_url`, and a key is for that one alone.
    """
    base = api_base(provider)
    if url and base and urlsplit(url)[:2] != urlsplit(base)[:2]:
        return None
    return url


def _list_url(provider: Provider) -> str | None:
    base = api_base(provider)
    if base is None:
        return None
    if provider.dialect == "anthropic":
        return f"{base}/v1/models?limit=1000"
    return f"{base}/v1/models" if provider.dialect == "messages" else f"{base}/models"


def _ask(
    provider: Provider, url: str | None, key: str | None, seconds: float | None = None
) -> Answer:
    import httpx

    if url is None:
        return Answer([], "has no known list of models")
    seconds = seconds or TIMEOUT
    headers = {"accept": "application/json"}
    if provider.dialect in {"anthropic", "messages"}:
        headers["anthropic-version"] = "2023-06-01"
    if key:
        own = provider.dialect == "anthropic"
        headers |= {"x-api-key": key} if own else {"authorization": f"Bearer {key}"}
    host = urlsplit(url).netloc
    proxied = urlsplit(url).hostname not in LOOPBACK.split(",")
    try:
        answer = httpx.get(url, headers=headers, timeout=seconds, trust_env=proxied)
        if answer.status_code != _OK:
            return Answer([], _said(answer.status_code, url), answer.status_code in _REFUSED)
        return Answer(list(_models(answer.json())))
    except httpx.TimeoutException:
        trouble = f"did not answer at {host} within {seconds:g} s"
    except httpx.HTTPError:
        trouble = f"cannot be reached at {host}"
    except UnicodeEncodeError:
        trouble = "cannot be asked: the key contains characters that no key has"
    except (ValueError, AttributeError, TypeError):
        trouble = f"answers at {url}, but not with a list of models"
    return Answer([], trouble)


def _said(status: int, url: str) -> str:
    host = urlsplit(url).netloc
    if status in _REFUSED:
        return f"refuses the key: {host} answers {status}"
    if status in _REDIRECT:
        return f"answers {status} at {host}; redirects are not followed, to protect the key"
    if status == _MISSING:
        return f"answers 404: there is nothing at {url}"
    return f"answers {status} at {host}"


def _models(data: Any) -> Iterator[dict[str, Any]]:
    """The models of a list in Anthropic's, OpenAI's, Ollama's or Together's shape."""
    rows = data if isinstance(data, list) else data.get("data") or data.get("models") or []
    for row in rows if isinstance(rows, list) else ():
        name = row.get("id") or row.get("name")
        if not isinstance(name, str) or not name.isprintable() or len(name.split()) != 1:
            continue
        found: dict[str, Any] = {"id": name.removeprefix("models/")}
        windows = [row[field] for field in _WINDOWS if isinstance(row.get(field), int)]
        if windows and windows[0] > 0:
            found["context"] = windows[0]
        if price := _price(row.get("pricing")):
            found["price"] = price
        yield found


def _price(told: Any) -> dict[str, float] | None:
    """OpenRouter's prices, which are text, in USD for one token."""
    if not isinstance(told, dict) or not isinstance(told.get("prompt"), str):
        return None
    try:
        given = {ours: float(told[theirs]) for theirs, ours in _PRICES.items() if theirs in told}
    except (TypeError, ValueError):
        return None
    usd = {name: round(value * 1_000_000, 6) for name, value in given.items()}
    complete = {"input", "output"} <= usd.keys()
    return usd if complete and all(0 <= value < float("inf") for value in usd.values()) else None


# ------------------------------------------------------------------ what they said


def known(home: Home) -> dict[str, dict[str, Any]]:
    """What providers have said when they were last asked: `models`, and when it was `read`."""
    try:
        loaded = json.loads(home.known_models.read_text(encoding="utf-8"))
        return {name: said for name, said in loaded.items() if isinstance(said["models"], list)}
    except (OSError, ValueError, AttributeError, KeyError, TypeError):  # asked anew, it is whole
        return {}


def remember(home: Home, said: Mapping[str, Answer], today: str) -> None:
    """Keep what those providers said that answered."""
    with locked(home.known_models.with_name("known-models.lock")):
        kept = known(home)
        for name, answer in said.items():
            if answer.trouble is None:
                kept[name] = {"read": today, "models": answer.models}
        write_private(home.known_models, json.dumps(kept, indent=1, ensure_ascii=False))
