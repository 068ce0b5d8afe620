"""``hooktrace hooks``, run as a user runs it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

SCRIPT = """
    import sys
    import torch
    from torch import nn

    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    def doubles(module, args, output):
        return output * 2
    net[1].register_forward_hook(doubles)
    gone = net[0].register_forward_hook(doubles)
    gone.remove()

    def train():
        inner = nn.Linear(2, 2)
        inner.weight.register_hook(lambda grad: grad)
        inner(torch.rand(1, 2)).sum().backward()

    train()
    print("from the script")
    sys.exit(int(sys.argv[1]))
"""


def test_hooks_are_listed_with_names_and_lines_also_of_models_that_a_function_made(
    tmp_path: Path,
) -> None:
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, "-m", "hooktrace", "hooks", "script.py", "5"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 5
    assert "from the script" in done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [row[1:4] for row in rows] == [
        ["forward", "net.1", "doubles"],
        ["tensor", "Linear.weight", "<lambda>"],
    ]
    assert rows[0][4:] == ["script.py:7", "script.py:9"]
    assert not list(tmp_path.glob("*.hooktrace"))


def test_only_some_kinds_can_be_asked_for_and_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("print('nothing here')\n")
    command = [sys.executable, "-m", "hooktrace", "hooks", "--kind", "tensor", "script.py"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "No hook is registered.\n")
