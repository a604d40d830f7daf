"""What the gateway tells of itself (GET /llmswitch/state)."""

from __future__ import annotations

from typing import Any

from llmswitch.engine.budget import spending
from llmswitch.engine.fields import left_out
from llmswitch.engine.recorder import writer
from llmswitch.engine.request import settings
from llmswitch.ledger import OWN_CLIENT
from llmswitch.run_files import ON_DEMAND


def state(client: str) -> dict[str, Any]:
    """The menu for every client: name, label, window (tokens), price (USD per million tokens) and
    behaviour of each model. For who has the gateway's own key also how the ledger is, what is left
    of each budget, after how many seconds without use it stops (0: it stays), and which fields of
    requests were left out, how often.
    """
    menu = {"menu": settings().get("menu", [])}
    if client != OWN_CLIENT:
        return menu
    return menu | {
        "ledger": {
            "trouble": writer().trouble,
            "waiting": writer().waiting,
            "lost": writer().lost,
        },
        "budgets": [account.data() for account in spending().accounts()],
        "goes_after": settings().get("idle_timeout", 0) if ON_DEMAND.exists() else 0,
        "left_out": dict(left_out),
    }
