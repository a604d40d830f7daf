"""An MCP server on stdio with many tools, as a user of Claude Code has one; run it as a file."""

from __future__ import annotations

import json
import sys
from typing import Any

TOOLS = [
    {
        "name": f"tool_{number}",
        "description": f"Does thing number {number} of many. " * 8,
        "inputSchema": {
            "type": "object",
            "properties": {"x": {"type": "string", "enum": ["ä", "☃"]}, "y": {"items": {}}},
            "required": ["x"],
        },
    }
    for number in range(30)
]


def result(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """What answers a request."""
    if method == "initialize":
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "own", "version": "1"},
            "instructions": "Has thirty tools.",
        }
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call":
        said = f"{params['name']} got {params['arguments']['x']}"
        return {"content": [{"type": "text", "text": said}]}
    return {}


if __name__ == "__main__":
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" in asked:
            answer = result(asked["method"], asked.get("params") or {})
            print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": answer}), flush=True)
