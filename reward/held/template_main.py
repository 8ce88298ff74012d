"""The template of held worlds: it has imported the user's environments once, and forks a world in milliseconds.

It is `reward.workers.template_main` with worlds in the place of workers.
"""

import sys

from reward.held.world_main import be_world
from reward.workers.template_main import main

if __name__ == "__main__":
    main(sys.argv[1:], be_world)
