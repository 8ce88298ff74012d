"""What a tool of an MCP server gave, as text for the model."""

import json
from typing import Any

from reward.pool_tool import cut
from reward.services.secret import Secret
from reward.tools.result import Result


def result_of(answer: Any, secret: Secret) -> Result:
    """The texts of a result in their order; a part that is no text is named. A result without parts is its structured content as JSON."""
    texts = [text_of(part) for part in answer.content]
    if not texts and answer.structured_content is not None:
        texts = [json.dumps(answer.structured_content, ensure_ascii=False)]
    text = cut(secret.blot("\n".join(texts)))
    return Result.wrong(text or "the tool failed") if answer.is_error else Result(text=text)


def text_of(part: Any) -> str:
    """One part of a result."""
    match part.type:
        case "text":
            text: str = part.text
            return text
        case "resource" if getattr(part.resource, "text", None) is not None:
            return str(part.resource.text)
        case "resource" | "resource_link":
            return f"[{part.type} {getattr(part, 'uri', None) or part.resource.uri}]"
    return f"[{part.type}]"
