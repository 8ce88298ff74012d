"""The limits of a program under test."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeLimits:
    """The `[code]` table of a config, as it travels to the reward workers."""

    unsafe: bool = False  # run programs without a sandbox
    timeout_s: float = 2.0  # own time of one run
    memory_mb: int = 512
    disk_mb: int = 16
    output_kb: int = 1024
    partial: bool = False  # reward the share of passed tests
    prelude: bool = True  # programs that are called, and those with a class Solution, use names of the library without an import
