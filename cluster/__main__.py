"""`python -m cluster`, and the console script `gatewise`."""

import sys

from cluster.working_folder import HiddenModule, refuse_hidden_modules

try:
    refuse_hidden_modules()
except HiddenModule as error:  # before the imports below, which would find the user's file
    sys.exit(f"gatewise: HiddenModule: {error}")

from cluster.cli import main

if __name__ == "__main__":
    main()
