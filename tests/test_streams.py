"""What workers print side by side."""

import io

from hamljax.lab.commands.streams import Prefixed, WithoutOverrides


def test_every_line_says_whose_it_is_and_is_written_whole():
    there = io.StringIO()
    ours = Prefixed(there, "[seed=0] ")
    assert ours.write("com") == 3 and there.getvalue() == "" and not ours.isatty()
    print("piling\nand training", "now", file=ours, flush=True)
    assert there.getvalue() == "[seed=0] compiling\n[seed=0] and training now\n"


def test_a_line_about_overrides_is_left_out():
    there = io.StringIO()
    ours = WithoutOverrides(there)
    print("Error executing job with overrides: ['a=b']\nhamljax: what failed", file=ours)
    print("other", file=ours)
    assert "overrides" not in there.getvalue() and "other" in there.getvalue()
