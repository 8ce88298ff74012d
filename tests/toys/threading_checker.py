"""A checker whose module starts a thread when it is imported, for the tests of the reward pool."""

import threading

threading.Thread(target=threading.Event().wait, daemon=True).start()


def score(response: str, reference: object) -> float:
    return 1.0
