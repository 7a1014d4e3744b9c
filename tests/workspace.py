"""A copy of the repository in which tests run its commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Workspace:
    """A copy of the repository, committed in a new repository."""

    path: Path

    @classmethod
    def copy_to(cls, target: Path) -> Workspace:
        """Copy and commit all files that git does not ignore."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in listed.stdout.split("\0"):
            if name and (ROOT / name).is_file():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, target / name)
        git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
        for command in (
            ["init", "-q", "-b", "main"],
            ["add", "-A"],
            ["commit", "-q", "-m", "copy"],
        ):
            subprocess.run([*git, *command], cwd=target, check=True, capture_output=True)
        return cls(target)

    def run(
        self, *command: str, env: dict[str, str] | None = None, timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run a command with this Python and the copy's own package first."""
        environment = dict(env if env is not None else os.environ)
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        environment["PYTHONPATH"] = str(self.path / "src")
        return subprocess.run(
            command,
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def stage(
        self, module: str, *options: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one stage's command, such as `mining` or `sources.training_data`."""
        return self.run(sys.executable, "-m", f"ettin_retrieval.{module}", *options, env=env)

    def edit(self, file: str, before: str, after: str) -> None:
        """Replace text in a file; fail if it is not there."""
        path = self.path / file
        text = path.read_text(encoding="utf-8")
        assert before in text, f"{file} has no {before!r}"
        path.write_text(text.replace(before, after), encoding="utf-8")

    def set_params(self, change: Callable[[str], str], file: str = "params.yaml") -> None:
        """Rewrite the text of params.yaml; fail if nothing changes."""
        path = self.path / file
        before = path.read_text(encoding="utf-8")
        after = change(before)
        assert after != before, f"the change of {file} found nothing to change"
        path.write_text(after, encoding="utf-8")
