"""Text that is too long for its place: cut, and marked as cut."""

CUT = "[cut]"


def cut_to(text: str, longest: int) -> str:
    """The text, or its beginning with "[cut]", together `longest` characters."""
    return text if len(text) <= longest else text[: longest - len(CUT)] + CUT
