"""The errors a user can mend: each names what is wrong and what to do about it."""

from __future__ import annotations

from pathlib import Path


class HarmonyError(Exception):
    """Something the user can mend. The entry points print the message and exit with code 2."""


class ConfigError(HarmonyError):
    """The configuration asks for something that does not exist or may not be run."""


class CheckpointError(HarmonyError):
    """A trained model is missing, or belongs to another architecture."""


class DataError(HarmonyError):
    """One scan cannot be used. Carries the file, the subject, the problem and the cure."""

    def __init__(self, problem: str, *, cure: str, path: Path | str | None = None, subject: str | None = None) -> None:
        self.problem, self.cure, self.path, self.subject = problem, cure, path, subject
        where = " ".join(str(part) for part in (f"[{subject}]" if subject else None, path) if part)
        super().__init__(f"{where}: {problem} -> {cure}" if where else f"{problem} -> {cure}")
