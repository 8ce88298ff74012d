"""The tool `python_session`: programs of the model's, each in the interpreter that the episode's earlier ones have left."""

from configs.schema import Config
from reward.code_limits import code_limits
from reward.held.sessions import SessionLost, Sessions
from reward.pool_tool import cut
from reward.programs.launcher_owner import SandboxError
from reward.programs.python_tool import NOTHING, program_of
from reward.tools.result import Result
from rollout.types import Outcome, Verdict


def python_sessions(config: Config) -> Sessions:
    """The interpreters of one node, as many as environments may be held."""
    return Sessions(code_limits(config), config.reward.held_episodes, float(config.reward.held_idle_s))


async def run_in_session(sessions: Sessions, episode: str, code: str, earlier: int) -> Result:
    """The result of a program; earlier: how many the episode has run before. A sandbox that breaks is a failure."""
    try:
        printed = await sessions.run(episode, program_of(code), earlier)
    except (SandboxError, SessionLost) as error:
        return Result(failure=Verdict.failed(Outcome.UNSCORABLE, f"error: tool 'python_session': {error}"))
    return Result(text=cut(printed.text.rstrip("\n")) or NOTHING, error=not printed.ok)
