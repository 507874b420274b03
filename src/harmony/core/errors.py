"""The errors a user can mend: each names what is wrong and what to do about it."""

from __future__ import annotations

from pathlib import Path


class HarmonyError(Exception):
    """Something the user can mend. The entry points print the message and exit with code 2."""


class ConfigError(HarmonyError):
    """The configuration asks for something that does not exist or may not be run."""


class CheckpointError(HarmonyError):
    """A trained model is missing, or belongs to another architecture."""


class DamagedError(HarmonyError):
    """A file that harmony wrote is no longer what it wrote."""

    def __init__(self, path: Path | str, problem: str) -> None:
        super().__init__(f"{path}: damaged: {problem} -> copy it again, or delete it and start again")


class StorageError(HarmonyError):
    """A file cannot be written or read: a full or read-only disk, missing rights, a folder that is a file."""

    def __init__(self, path: Path | str, problem: str) -> None:
        cure = "check the disk and the rights; what is finished is kept, and the same command goes on"
        super().__init__(f"{path}: {problem} -> {cure}")


class DataError(HarmonyError):
    """One scan cannot be used. Carries the file, the subject, the problem and the cure."""

    def __init__(self, problem: str, *, cure: str, path: Path | str | None = None, subject: str | None = None) -> None:
        self.problem, self.cure, self.path, self.subject = problem, cure, path, subject
        super().__init__(self._line(path))

    @property
    def public(self) -> str:
        """The message without the folders, for pages that leave this machine."""
        return self._line(None if self.path is None else Path(self.path).name)

    def _line(self, path: Path | str | None) -> str:
        where = " ".join(str(part) for part in (f"[{self.subject}]" if self.subject else None, path) if part)
        return f"{where}: {self.problem} -> {self.cure}" if where else f"{self.problem} -> {self.cure}"
