"""The models of the ready-made profile `claude-glm`, as the tests name them: ids, labels and prices
come from the profile, whose models come from the catalogue (tests/profile/test_ready_made.py). So a
new model is written into the catalogue alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from llmswitch.columns import columns
from llmswitch.profile.load import load_profile
from llmswitch.render.claude_settings import wire_ids
from llmswitch.render.menu import make_menu, make_rows

FOLDER = Path(__file__).parent.parent / "profiles"
PROFILE = load_profile(FOLDER / "claude-glm.yaml")
ROWS = {row.name: row for row in make_rows(PROFILE, PROFILE.key_names)}
NAMES = [*ROWS, "qwen"]  # of the mission
# As the newest client calls them.
WIRE_IDS = [*wire_ids(make_menu(PROFILE, PROFILE.key_names), "picker").values(), "qwen"]
OPUS, SONNET, GLM = ROWS["opus"], ROWS["sonnet"], ROWS["glm"]


def table(default: str, left_out: Mapping[str, str]) -> str:
    """The models of the mission (see conftest.py) as `up` and `status` show them; `left_out` are
    reasons by name.
    """
    said = {row.name: (row.label, row.description) for row in ROWS.values()}
    said["qwen"] = ("Qwen3", "My server · 200k · price unknown")
    cells = [("MODEL", "LABEL", "PROVIDER, CONTEXT, PRICE")]
    for name, (label, description) in said.items():
        reason = f"left out: {left_out[name]}" if name in left_out else description
        cells.append((f"{name} (default)" if name == default else name, label, reason))
    return "\n".join(["", *columns(cells), ""])
