"""Fixtures ``no_leaked_hooks`` and ``hooktrace_report``; ``--hooktrace``: every test in a trace.

The option is how a suite proves that the code it tests cannot tell that it is being watched: a
test that passes without the option and fails with it has found a fault of hooktrace.  pytest
imports this module by its entry point; PyTorch is imported when the first test is about to run,
and only if the option is given.  The fixture imports PyTorch only when it is called.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest

from hooktrace.tracebacks import unlink_own_frames

if TYPE_CHECKING:
    from hooktrace.leaks import Watch
    from hooktrace.session import Trace

__all__ = ["Tracing", "hooktrace_report", "no_leaked_hooks"]

MARKER = "no_hooktrace"
_LONGEST = 150  # characters of the name of a file
_FAILED = pytest.StashKey[bool]()
_TRACE = pytest.StashKey["Trace"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("hooktrace")
    group.addoption(
        "--hooktrace",
        action="store_true",
        help="Run every test, its fixtures included, inside `with hooktrace.trace():`.",
    )
    group.addoption(
        "--hooktrace-edits",
        choices=("values", "versions"),
        default="values",
        help="What --hooktrace gives to trace(edits=...); 'versions' copies no tensors.",
    )
    group.addoption(
        "--hooktrace-report",
        metavar="FOLDER",
        help="Write what was traced of a test that fails to FOLDER: with --hooktrace of every "
        "test, else of those that ask for the fixture hooktrace_report.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and with the option the tracing."""
    config.addinivalue_line("markers", f"{MARKER}: --hooktrace leaves this test out.")
    if config.getoption("--hooktrace"):
        config.addinivalue_line("filterwarnings", "ignore::hooktrace.errors.ProbeFailedWarning")
        strict = os.environ.get("HOOKTRACE_STRICT", "") == "1"
        tracing = Tracing(config.getoption("--hooktrace-edits"), strict=strict)
        config.pluginmanager.register(tracing, "hooktrace-tracing")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note that a test failed, for what it left behind then is no news; tell what was traced."""
    if call.when == "call" and call.excinfo is not None:
        item.stash[_FAILED] = True
    report = yield
    folder = item.config.getoption("--hooktrace-report")
    if call.when == "call" and report.failed and _TRACE in item.stash:
        asked = "hooktrace_report" in getattr(item, "fixturenames", ())
        if folder or asked:
            report.sections.append(("hooktrace", _told(item, call, folder)))
    return report


def _told(item: pytest.Item, call: pytest.CallInfo[None], folder: str | None) -> str:
    """Return what was traced of a test that failed, and write it to a file if there is a folder."""
    trace = item.stash[_TRACE]
    plugin: Tracing | None = item.config.pluginmanager.get_plugin("hooktrace-tracing")
    error = None if call.excinfo is None else call.excinfo.value
    if plugin is None or plugin.trace is not trace:  # which goes on until the fixtures are gone
        trace.__exit__(None if error is None else type(error), error, None)
    found = trace.findings()
    text = f"{trace}\n\n{found}" if found else str(trace)
    if folder is None:
        return text
    name = re.sub(r"[^\w.-]+", "_", item.nodeid)[-_LONGEST:]
    place = item.config.invocation_params.dir / folder
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{name}.txt").write_text(f"{item.nodeid}\n\n{text}\n", encoding="utf-8")
    saved = trace.save(place / f"{name}.hooktrace")
    return f"{text}\n\nSaved as {saved}"


@pytest.fixture
def hooktrace_report(request: pytest.FixtureRequest) -> Generator[Trace]:
    """Trace a test; if it fails, its report shows the trace: calls, hooks, what they changed.

    The fixture is that trace, so the test can look into it.
    """
    stash = request.node.stash
    if _TRACE in stash:
        yield stash[_TRACE]
        return
    import hooktrace

    trace = stash[_TRACE] = hooktrace.trace()
    trace.__enter__()
    yield trace
    del stash[_TRACE]
    if not trace.log.sealed:
        trace.__exit__(None, None, None)


@pytest.fixture
def no_leaked_hooks(request: pytest.FixtureRequest) -> Generator[Callable[..., None]]:
    """Fail a test that leaves hooks behind.

    Hooks for every module and every optimizer are watched throughout; modules, tensors and
    optimizers from when the test gives them to the fixture, ``no_leaked_hooks(model)``, until it
    has ended.
    """
    watches: list[Watch] = []

    def watch(*things: Any) -> None:
        from hooktrace.leaks import Watch

        watches.append(Watch(things))

    early = "torch" in sys.modules
    if early:
        watch()
    yield watch
    if "torch" not in sys.modules or request.node.stash.get(_FAILED, False):
        return
    from hooktrace.errors import LeakedHookError
    from hooktrace.leaks import Watch, complain

    if not early:
        watches.insert(0, Watch((), anew=True))
    found = {
        (row.kind, row.owner, row.name, row.defined_at, row.registered_at): row
        for one in watches
        for row in one.leaked()
    }
    told = ""
    try:
        complain([*found.values()])
    except LeakedHookError as error:
        told = str(error)
    if told:  # not while the error is handled, which would be told as well
        pytest.fail(told, pytrace=False)


class Tracing:
    """Opens a trace before the fixtures of a test are set up, and closes it after they are gone.

    The wrappers are innermost, so that pytest's own work before and after lies outside of the
    trace.  What is found travels with the report of the teardown, also from another process.

    Args:
        edits: As for `hooktrace.trace`.
        strict: Whether a test fails in which a probe of hooktrace failed.
    """

    def __init__(self, edits: str, *, strict: bool) -> None:
        self.edits = edits
        self.strict = strict
        self.trace: Trace | None = None
        self.found: dict[str, list[str]] = {}  # failed probes by test, until it is reported
        self.tests = 0
        self.failed: list[tuple[str, str]] = []

    # -------------------------------------------------------------- one test

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None]:
        """Open the trace of a test."""
        self._close()
        if item.get_closest_marker(MARKER) is None:
            import hooktrace

            trace = hooktrace.trace(edits=self.edits)
            trace.__enter__()
            self.trace = item.stash[_TRACE] = trace
            self.found[item.nodeid] = []
        yield

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None]:
        """Fail a test in which a probe failed."""
        try:
            yield
        finally:
            failed = self._judge(item, "call", self.trace)
        self._fail(failed)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None]:
        """Close the trace of a test."""
        trace = self.trace
        try:
            yield
        finally:
            if _TRACE in item.stash:
                del item.stash[_TRACE]
            try:
                self._close()
            finally:
                failed = self._judge(item, "teardown", trace)
        self._fail(failed)

    def pytest_sessionfinish(self) -> None:
        """Close the trace of a test that was interrupted."""
        self._close()

    def _close(self) -> None:
        trace, self.trace = self.trace, None
        if trace is not None:
            trace.__exit__(None, None, None)

    def _judge(self, item: pytest.Item, when: str, trace: Trace | None) -> str:
        """Note the probes that have failed since the last time; return what they say."""
        if trace is None:
            return ""
        from hooktrace.events import ProbeFailed

        known = self.found.setdefault(item.nodeid, [])
        new = trace.of(ProbeFailed)[len(known) :]
        for event in new:
            reason = event.traceback.strip().splitlines()[-1]
            known.append(f"{event.probe}: {reason}")
            item.add_report_section(when, "hooktrace", event.traceback)
        return "\n".join(event.traceback for event in new)

    def _fail(self, tracebacks: str) -> None:
        if tracebacks and self.strict:
            pytest.fail(
                f"hooktrace failed while it watched this test:\n{tracebacks}", pytrace=False
            )

    # -------------------------------------------------------------- reports

    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> None:
        """Take hooktrace's frames out of a traceback before it is shown."""
        if call.excinfo is not None:
            unlink_own_frames(call.excinfo.value)
            read = type(call.excinfo.traceback)  # that of a unittest.TestCase was read before
            call.excinfo.traceback = read(call.excinfo.tb)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test that has ended, in this process or in a worker."""
        if report.when != "teardown":
            return
        if report.nodeid in self.found:
            vars(report)["hooktrace"] = self.found.pop(report.nodeid)
        if "hooktrace" in vars(report):
            self.tests += 1
            self.failed += [(report.nodeid, text) for text in vars(report)["hooktrace"]]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say how many tests ran inside a trace, and which probes failed."""
        ran = f"{self.tests} test{'s' * (self.tests != 1)} ran inside a trace"
        if not self.failed:
            terminalreporter.write_line(f"hooktrace: {ran}, no probe failed")
            return
        count = len(self.failed)
        terminalreporter.write_line(f"hooktrace: {ran}, {count} probe failure{'s' * (count != 1)}:")
        for test, text in self.failed:
            terminalreporter.write_line(f"  {test}: {text}")
