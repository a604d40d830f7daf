"""The work whose ledger and log the manual shows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from llmswitch.ledger import Try
from llmswitch.request_line import Request
from tests.usage.test_summary import FAILED, PLAIN


def week_of_work() -> Iterator[Try]:
    """Five days: most of it with glm-4.7, some with sonnet, which also served when glm-4.7 failed;
    small requests of glm-4.5, without a prompt cache.
    """
    monday = datetime(2026, 11, 2, 9, tzinfo=UTC).timestamp()
    models = {  # how many a day, tokens (input, output, read), cost and saved
        "glm-4.7": ((48, 71, 30, 64, 22), (900, 350, 41_000), 0.0059, 0.0201),
        "sonnet": ((4, 2, 9, 6, 3), (1200, 420, 38_000), 0.0213, 0.1026),
        "glm-4.5": ((9, 12, 6, 11, 5), (6400, 60, 0), 0.0014, 0.0),
    }
    for model, (each_day, (fresh, output, held), cost, saved) in models.items():
        zai = model != "sonnet"
        for day, requests in enumerate(each_day):
            for number in range(requests):
                fell_back = model == "sonnet" and number == 0
                done = PLAIN._replace(
                    ended=monday + day * 86400 + number * 300,
                    request=f"{model}-{day}-{number}",
                    asked="glm-4.7" if fell_back else model,
                    model=model,
                    provider="zai" if zai else "anthropic",
                    key="ZAI_API_KEY" if zai else "ANTHROPIC_API_KEY",
                    input=fresh,
                    output=output,
                    cache_read=held,
                    cost=cost,
                    prompt_saved=saved,
                    fallback_from="glm-4.7" if fell_back else None,
                )
                yield done
                if fell_back:
                    yield FAILED._replace(
                        ended=done.ended - 2,
                        request=done.request,
                        asked="glm-4.7",
                        model="glm-4.7",
                        provider="zai",
                        key="ZAI_API_KEY",
                    )


def minutes_of_work() -> Iterator[Request]:
    """An answer, one of a fallback, a failure, and one of another model."""
    answered = Request(
        time="2026-11-02T09:14:07.112Z",
        method="POST",
        path="/v1/messages",
        status=200,
        model="sonnet",
        served="sonnet",
        provider="anthropic",
        upstream="claude-sonnet-4-5-20250929",
        tries=1,
        client="gateway",
        session="5f0c1d6e-9a35-4c1b-8f44-2f6f2a1c7b90",
        first_byte=0.871,
        seconds=6.402,
        input=1200,
        output=420,
        cache_read=38_000,
        cache_write=0,
        cost=0.0213,
    )
    yield answered
    yield answered._replace(
        time="2026-11-02T09:15:31.650Z",
        model="glm-4.7",
        tries=2,
        client="laptop",
        session=None,
        first_byte=1.306,
        seconds=4.018,
        input=900,
        output=350,
        cache_read=0,
        cost=0.00795,
    )
    yield answered._replace(
        time="2026-11-02T09:16:02.208Z",
        status=429,
        first_byte=0.204,
        seconds=0.204,
        input=0,
        output=0,
        cache_read=0,
        cost=0.0,
        error="RateLimitError",
    )
    yield answered._replace(model="opus", served="opus")
