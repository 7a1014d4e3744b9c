"""The benchmark that kills fine-tuning, with one kill."""

from __future__ import annotations

from benchmarks import kill_resume


def test_a_killed_training_ends_in_the_same_bytes() -> None:
    found = kill_resume.measure({"kills": 1, "seed": 7})
    (figure,) = found.figures
    assert figure.values == [0] and figure.unit == "of 1"
    first, kill = found.notes
    assert first.startswith("13 output files")
    assert kill.startswith("Killed after") and kill.endswith("identical.")
