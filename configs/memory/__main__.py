"""The command `python -m configs.memory FOLDER`: writes the heads of the recipes and the memory table of docs/gpu.md."""

import sys
from pathlib import Path

from configs.memory.page import write

if __name__ == "__main__":
    write(Path(sys.argv[1]))
