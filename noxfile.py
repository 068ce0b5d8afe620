"""Run the tests on the oldest PyTorch that hooktrace promises, and on the newest there is.

``nox`` or ``make versions`` runs both, each in an environment of its own; ``nox -s at -- 2.10``
runs them on one version in between.  What follows goes to pytest.
"""

import re

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["tests"]
nox.options.stop_on_first_error = False

PROMISED = next(
    requirement
    for requirement in nox.project.load_toml("pyproject.toml")["project"]["dependencies"]
    if re.match(r"torch\b", requirement)
)
PINS = {"oldest": PROMISED.replace(">=", "==") + ".*", "newest": PROMISED}


@nox.session
@nox.parametrize("pin", [nox.param(pin, id=name) for name, pin in PINS.items()])
def tests(session: nox.Session, pin: str) -> None:
    """Run the suite on the oldest and on the newest PyTorch."""
    run_on(session, pin, session.posargs)


@nox.session
def at(session: nox.Session) -> None:
    """Run the suite on the version of PyTorch that is given."""
    if not session.posargs:
        session.error("which PyTorch? For example: nox -s at -- 2.10")
    version, *arguments = session.posargs
    run_on(session, f"torch=={version}.*", arguments)


def run_on(session: nox.Session, pin: str, arguments: list[str]) -> None:
    """Install hooktrace with a PyTorch and the torchvision that goes with it; run the suite."""
    session.install("-e", ".[dev]", pin, "setuptools")  # older compilers import it unasked
    session.run("python", "-c", "import torch; print('PyTorch', torch.__version__)")
    session.run("python", "-m", "pytest", *arguments, env={"HOOKTRACE_STRICT": "1"})
