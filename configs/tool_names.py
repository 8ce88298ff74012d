"""How entries of `tools.use` are spelled; it imports nothing, as reward workers read it too."""

PYTHON, PYTHON_SESSION = "python", "python_session"
BUILT_IN = (PYTHON, PYTHON_SESSION)
MCP = "mcp:"
MCP_STDIO = "mcp:stdio "
