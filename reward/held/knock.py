"""What an agent's process does before the agent begins: it says so at the engine's door."""

import os
import urllib.error
import urllib.request
from collections.abc import Mapping

from reward.episodes.transcript import EpisodeError

ANSWERS_S = 30.0
PAST_PROXIES = ("NO_PROXY", "no_proxy")
HOST = "127.0.0.1"


def knock(fields: Mapping[str, str]) -> None:
    """Begin at the door; EpisodeError where nobody answers there, or refuses. Clients of this process ask loopback without a proxy."""
    for name in PAST_PROXIES:
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), HOST]))
    url = fields["base_url"]
    request = urllib.request.Request(f"{url}/begin", data=b"{}", headers={"Authorization": f"Bearer {fields['api_key']}"})
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=ANSWERS_S).close()
    except urllib.error.HTTPError as error:
        raise EpisodeError(
            f"the engine did not let the agent begin ({error.code}): {error.read().decode(errors='replace')[:300]}"
        ) from error
    except OSError as error:
        raise EpisodeError(
            f"nobody answers the agent at {url} ({error}): agents ask the engine over loopback, so each node with an engine needs reward "
            'workers of its own: set reward.nodes = "engines"'
        ) from error
