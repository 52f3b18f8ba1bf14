"""What spec/generate writes is what is checked in."""

import sys


def test_vectors_are_what_their_generator_makes(run, repository):
    done = run(sys.executable, repository / "spec" / "generate" / "make_vectors.py", "--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_worked_example_is_what_its_generator_writes(run, repository):
    done = run(sys.executable, repository / "spec" / "generate" / "worked_example.py")
    assert done.returncode == 0, done.stderr
    text = (repository / "SPEC.md").read_text(encoding="utf-8")
    section = text.partition("\n## 17 Worked example\n")[2].partition("\n## 18 ")[0]
    assert section.strip() == done.stdout.strip()
