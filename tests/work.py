"""The work whose ledger the manual shows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from llmswitch.ledger import Try
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


def minutes_of_work() -> Iterator[Try]:
    """An answer, one by another model than was asked for, a failure, a refusal, and an answer."""
    began = datetime(2026, 11, 2, 9, 14, 7, tzinfo=UTC).timestamp()
    answered = PLAIN._replace(
        ended=began,
        session="5f0c1d6e-9a35-4c1b-8f44-2f6f2a1c7b90",
        asked="sonnet",
        model="sonnet",
        input=1200,
        output=420,
        cache_read=38_000,
        cost=0.0213,
        seconds=6.402,
    )
    failed = FAILED._replace(
        session=answered.session, status=429, error="RateLimitError", cost=0.0, seconds=0.2
    )
    yield answered
    fell_back = answered._replace(asked="glm-4.7", request="r2", session=None, client="laptop")
    yield fell_back._replace(ended=began + 84, cost=0.00795, seconds=3.8)
    yield failed._replace(ended=began + 115, request="r3", asked="sonnet", model="sonnet")
    yield failed._replace(
        ended=began + 116,
        request="r4",
        asked="",
        model="",
        provider=None,
        status=404,
        error="not_found_error",
    )
    yield answered._replace(ended=began + 130, request="r5", asked="opus", model="opus")
