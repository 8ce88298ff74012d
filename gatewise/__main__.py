"""`python -m gatewise`, the same as `python -m cluster`."""

from cluster.cli import main

main()
