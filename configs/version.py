"""The version of Gatewise: the one place that names it for code, the package and `gatewise --version`."""

VERSION = "0.13.4"
