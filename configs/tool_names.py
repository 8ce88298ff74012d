"""How entries of `tools.use` are spelled; it imports nothing of ours, as reward workers read it too."""

import re

PYTHON, PYTHON_SESSION = "python", "python_session"
BUILT_IN = (PYTHON, PYTHON_SESSION)
MCP = "mcp:"
MCP_STDIO = "mcp:stdio "
PREFIX = re.compile(rf"(?P<prefix>[A-Za-z]\w*)=(?={MCP})")  # "NAME=" before a server
