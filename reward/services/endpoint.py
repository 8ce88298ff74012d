"""One service over HTTP, with limits on concurrent requests, time, size, tries, and requests in all.

A request that fails for a while (no connection, no answer in time, 408, 429, 5xx) is tried again after a growing pause, or the one that
Retry-After asks for, during which nobody asks. No request of a response begins later than `timeout_s` x (`retries` + 1) and the longest
pauses between after it was handed in, waiting for a free slot included. A service that leaves response after response without any answer
is asked only once in a while, until it answers; the others fail at once.

Redirects are not followed, as the key would travel. Proxies and certificates are taken from the usual environment variables.
"""

import asyncio
import ssl
import threading
from dataclasses import dataclass
from functools import cache

import httpx

from configs.digits import write_long_json
from configs.sections.reward import EndpointConfig
from reward.json_value import read_json
from reward.services.backoff import LONGEST_ASKED_S, asked_pause, longest_pause_before, pause_before
from reward.services.breaker import IN_A_ROW, Breaker
from reward.services.secret import Secret, read_secret
from rollout.types import Outcome

MAX_ANSWER_BYTES = 1 << 20
SHOWN_CHARS, KEPT_CHARS = 300, 16_000
FOR_A_WHILE = (408, 429)  # and 5xx
PROBE_S = 10.0
CLOSE_S = 5.0


class NoAnswer(Exception):
    """A service gave no score; the text is a failure such as "error: judge: HTTP 401 ..."."""

    def __init__(
        self, text: str, outcome: Outcome = Outcome.UNSCORABLE, *, again: bool = False, status: int | None = None, words: str = ""
    ) -> None:
        super().__init__(text)
        self.outcome, self.words = outcome, words
        self.again = again  # whether another try may succeed
        self.status = status  # of the HTTP answer, where there was one


@cache
def certificates() -> ssl.SSLContext:
    """The trusted certificates; reading them takes a tenth of a second, so it is done once."""
    return httpx.create_ssl_context()


@dataclass(slots=True, kw_only=True)
class OnLoop:
    """The connections and request slots of one event loop."""

    client: httpx.AsyncClient
    slots: asyncio.Semaphore
    quiet_until: float = 0.0  # on the loop's clock; the service asked for this pause


class Endpoint:
    """Asks one service; usable on any event loop of any thread, each with connections and slots of its own."""

    def __init__(self, name: str, config: EndpointConfig) -> None:
        self.name, self.config = name, config
        self.url = (config.url or "").rstrip("/")
        self._loops: dict[asyncio.AbstractEventLoop, OnLoop] = {}
        self._lock = threading.Lock()
        self._spent = 0
        self._breaker = Breaker(float(config.timeout_s))
        self._patience_s = config.timeout_s * (config.retries + 1) + sum(longest_pause_before(n + 1) for n in range(config.retries))
        self._closed = False
        self._secret = Secret(None)
        self.problem: str | None = None if config.url else f"{name}.url is not set: give the address of the service"
        try:
            self._secret = read_secret(f"{name}.key_env", config.key_env)
        except ValueError as error:
            self.problem = self.problem or str(error)

    async def ask(self, path: str, body: object) -> object:
        """The service's JSON answer to the JSON value `body`; NoAnswer where it gives none."""
        if self.problem:
            raise self.no_answer(self.problem)
        sent = write_long_json(body, allow_nan=False).encode()
        here, tries, asked_at = self._here(), self.config.retries + 1, asyncio.get_running_loop().time()
        failed: NoAnswer | None = None
        for attempt in range(tries):
            if attempt:
                await asyncio.sleep(pause_before(attempt))
            try:
                return self._read(await self._in_turn(here, path, sent, asked_at))
            except NoAnswer as error:
                if not error.again:
                    if error.outcome is Outcome.TIMED_OUT and failed is not None and failed.status is None:
                        self._breaker.failed()  # no answer, and no time for another try
                    raise
                failed = error
        assert failed is not None
        if failed.status is None:
            self._breaker.failed()
        raise NoAnswer(f"{failed} ({tries} {'try' if tries == 1 else 'tries'})", failed.outcome, status=failed.status)

    async def fetch(self, method: str, path: str, most_bytes: int) -> bytes:
        """The service's answer to a request without a body; one try, with a short time limit, outside the budget."""
        if self.problem:
            raise self.no_answer(self.problem)
        return await self._request(self._here(), method, path, None, most_bytes, PROBE_S)

    def no_answer(self, what: str, outcome: Outcome = Outcome.UNSCORABLE, *, again: bool = False, status: int | None = None) -> NoAnswer:
        """The failure in words, without the key."""
        kind = "timeout" if outcome is Outcome.TIMED_OUT else "error"
        return NoAnswer(self._secret.blot(f"{kind}: {self.name}: {what}"), outcome, again=again, status=status)

    def shown(self, text: str, *, tail: bool = False) -> str:
        """The beginning of a service's text, or its end, on one line and without the key."""
        text = " ".join(self._secret.blot(text).split())
        if len(text) <= SHOWN_CHARS:
            return text
        return f"…{text[-SHOWN_CHARS:]}" if tail else f"{text[:SHOWN_CHARS]}…"

    def words(self, text: str) -> str:
        """The text for a file: without the key, and of a very long one the beginning and the end."""
        text = self._secret.blot(text)
        return text if len(text) <= KEPT_CHARS else f"{text[: KEPT_CHARS // 2]} [...] {text[-KEPT_CHARS // 2 :]}"

    async def close(self) -> None:
        """Close the connections of every loop that still runs; a waiting caller gets an error."""
        with self._lock:
            loops, self._loops, self._closed = self._loops, {}, True
        for loop, state in loops.items():
            if loop is asyncio.get_running_loop():
                await state.client.aclose()
            elif loop.is_running():
                await asyncio.wait([asyncio.wrap_future(asyncio.run_coroutine_threadsafe(state.client.aclose(), loop))], timeout=CLOSE_S)

    def _here(self) -> OnLoop:
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._closed:
                raise RuntimeError(f"the service {self.name!r} is closed")
            self._loops = {known: state for known, state in self._loops.items() if not known.is_closed()}
            if loop not in self._loops:
                limits = httpx.Limits(max_connections=None, max_keepalive_connections=self.config.concurrency)
                headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", **self._secret.headers}
                client = httpx.AsyncClient(
                    timeout=None, limits=limits, headers=headers, follow_redirects=False, trust_env=True, verify=certificates()
                )
                self._loops[loop] = OnLoop(client=client, slots=asyncio.Semaphore(self.config.concurrency))
            return self._loops[loop]

    async def _in_turn(self, here: OnLoop, path: str, sent: bytes, asked_at: float) -> bytes:
        self._refuse_silent(take=False)  # before the wait for a slot, all of which may be held by requests to a silent service
        begin_by = asked_at + self._patience_s
        try:
            async with asyncio.timeout_at(begin_by):
                await here.slots.acquire()
        except TimeoutError:
            raise self._too_slow(asked_at) from None
        try:
            now = asyncio.get_running_loop().time
            while now() < here.quiet_until <= begin_by:
                await asyncio.sleep(here.quiet_until - now())
            if max(now(), here.quiet_until) > begin_by:
                raise self._too_slow(asked_at)
            self._refuse_silent(take=True)
            self._spend()
            try:
                body = await self._request(here, "POST", path, sent, MAX_ANSWER_BYTES, float(self.config.timeout_s))
            except NoAnswer as error:
                if error.status is not None:
                    self._breaker.answered()
                raise
            self._breaker.answered()
            return body
        finally:
            here.slots.release()

    def _refuse_silent(self, *, take: bool) -> None:
        if self._breaker.silent(take=take):
            what = f"the service did not answer {IN_A_ROW} responses in a row, so it is asked only once in {self._breaker.probe_s:g} s"
            raise self.no_answer(f"{what}: see that it runs", Outcome.TIMED_OUT)

    def _too_slow(self, asked_at: float) -> NoAnswer:
        waited = asyncio.get_running_loop().time() - asked_at
        what = f"the service is too slow: waited {waited:.3g} s, with earlier tries, for a free slot or for a pause that it asked for"
        return self.no_answer(f"{what}: raise {self.name}.concurrency if the service can take it", Outcome.TIMED_OUT)

    def _spend(self) -> None:
        budget = self.config.budget
        with self._lock:
            if budget is not None and self._spent >= budget:
                raise self.no_answer(
                    f"budget spent: {self.name}.budget allowed {budget} {'request' if budget == 1 else 'requests'} in this run"
                )
            self._spent += 1

    async def _request(self, here: OnLoop, method: str, path: str, sent: bytes | None, most_bytes: int, limit: float) -> bytes:
        """One request, complete within `limit` seconds even where the answer drips in."""
        try:
            async with asyncio.timeout(limit), here.client.stream(method, self.url + path, content=sent) as response:
                body = bytearray()
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > most_bytes:
                        break
                self._refuse_status(here, response, bytes(body))
                if len(body) > most_bytes:
                    raise self.no_answer(f"answered more than {most_bytes} bytes", status=response.status_code)
                return bytes(body)
        except TimeoutError:
            raise self.no_answer(f"no answer within {limit:g} s", Outcome.TIMED_OUT, again=True) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = self.shown(f"{type(error).__name__}: {error}")
            raise self.no_answer(f"asking {self.url} failed: {why}", again=isinstance(error, httpx.TransportError)) from None

    def _refuse_status(self, here: OnLoop, response: httpx.Response, body: bytes) -> None:
        status = response.status_code
        if response.is_success:
            return
        if response.is_redirect:
            where = self.shown(response.headers.get("Location", "nowhere"))
            raise self.no_answer(f"HTTP {status}: redirects to {where}, which is not followed: set {self.name}.url to that", status=status)
        pause = asked_pause(response.headers.get("Retry-After"))
        again = (status in FOR_A_WHILE or status >= httpx.codes.INTERNAL_SERVER_ERROR) and pause <= LONGEST_ASKED_S
        if again and pause:
            here.quiet_until = max(here.quiet_until, asyncio.get_running_loop().time() + pause)
        later = f", to be asked again in {pause:g} s" if pause > LONGEST_ASKED_S else ""
        raise self.no_answer(f"HTTP {status}{later}: {self.shown(body.decode(errors='replace'))}", again=again, status=status)

    def _read(self, body: bytes) -> object:
        try:
            return read_json(body)
        except ValueError as error:
            raise self.no_answer(f"answered no valid JSON ({error}): {self.shown(body.decode(errors='replace'))}") from None
