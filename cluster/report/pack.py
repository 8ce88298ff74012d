"""JSON and scripts as the report holds them: compressed, in base64, so that no text of a run can end the element that it stands in."""

import gzip
import json
import math
from base64 import b64encode
from functools import cache
from importlib.resources import files
from typing import Any

BEGINS, ENDS = b": this, () => {", b"}));"  # of the function that holds all of Plotly
DIGITS = 6  # of a number of a curve


def packed(value: Any) -> str:
    """JSON of a value, compressed. What is not finite becomes null, as JSON demands."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(finite(value), ensure_ascii=False, separators=(",", ":"))
    return squeezed(text.encode("utf-8", errors="replace"))  # half a surrogate pair is no text


def finite(value: Any) -> Any:
    """The value with None in the place of every float that is not finite."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def squeezed(raw: bytes) -> str:
    return b64encode(gzip.compress(raw, 6, mtime=0)).decode("ascii")


def short(value: float) -> float:
    """A number with as many digits as a chart can show."""
    return float(f"{value:.{DIGITS}g}")


@cache
def plotly() -> str:
    """Plotly's JavaScript, compressed."""
    return squeezed(called_at_once((files("plotly") / "package_data" / "plotly.min.js").read_bytes()))


def called_at_once(script: bytes) -> bytes:
    """The script with the one function that holds all of it in parentheses, which tell a browser that it is called at once.

    Without them V8 parses these megabytes twice: to skip the function, and to call it. A script of another shape stays as it is.
    """
    head, inner, ends = script.partition(BEGINS)
    body = ends.rstrip().removesuffix(ENDS)
    if not inner or BEGINS in ends or len(body) == len(ends.rstrip()):
        return script
    return b"".join([head, BEGINS.replace(b"() =>", b"(() =>"), body, ENDS.replace(b"}", b"})", 1)])
