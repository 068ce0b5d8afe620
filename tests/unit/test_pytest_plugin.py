"""`pytest --hooktrace` runs suites inside traces; the suites run here are written for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

import hooktrace as ht
from hooktrace.pytest_plugin import Tracing
from hooktrace.recorder import Recorder

pytest_plugins = ["pytester"]

assert ht.trace  # imported here, so that the suites, which forget their imports, share it

INSIDE = """
    import pytest
    from torch import nn

    UNTOUCHED = nn.Module.__call__

    def inside():
        return nn.Module.__call__ is not UNTOUCHED
"""

OUTCOMES = """
    import unittest
    import warnings

    import pytest
    import torch
    from torch import nn

    class Raises(nn.Module):
        def forward(self, x):
            return torch.cat([x, x[0]])

    def refuse(module, args):
        raise KeyError("refused")

    def outer():
        net = nn.Sequential(nn.Tanh(), Raises())
        return net(torch.ones(1, 2))

    @pytest.fixture
    def broken():
        return outer()

    @pytest.fixture
    def broken_afterwards():
        yield
        outer()

    def test_passes():
        with pytest.raises(RuntimeError, match="must have"):
            outer()

    def test_fails():
        outer()

    def test_fails_in_a_hook():
        net = nn.Linear(2, 2)
        net.register_forward_pre_hook(refuse)
        net(torch.ones(1, 2))

    def test_fails_in_backward():
        x = torch.ones(2, requires_grad=True)
        x.register_hook(lambda grad: outer())
        x.sum().backward()

    def test_fails_with_a_cause():
        try:
            outer()
        except RuntimeError as error:
            raise ValueError("wrapped") from error

    def test_fails_to_set_up(broken):
        pass

    def test_fails_to_tear_down(broken_afterwards):
        pass

    def test_warns():
        warnings.warn("beware")

    def test_skips():
        pytest.skip("not today")

    @pytest.mark.xfail(raises=RuntimeError, strict=True)
    def test_fails_as_expected():
        outer()

    @pytest.mark.parametrize("number", [1, 2])
    def test_many(number):
        assert number == 1

    class TestCase(unittest.TestCase):
        def setUp(self):
            self.net = nn.Linear(2, 2)

        def test_passes(self):
            self.net(torch.ones(1, 2)).sum().backward()
            self.assertIsNotNone(self.net.weight.grad)

        def test_fails(self):
            outer()

        def test_skips(self):
            self.skipTest("nor today")

    class TestAsync(unittest.IsolatedAsyncioTestCase):
        async def test_passes(self):
            self.assertEqual(tuple(nn.Linear(2, 2)(torch.ones(1, 2)).shape), (1, 2))

        async def test_fails(self):
            outer()
"""

CALLS = """
    import pytest
    import torch
    from torch import nn

    def call():
        net = nn.Linear(2, 2)
        net.register_forward_hook(lambda module, args, output: None)
        net(torch.ones(1, 2))

    def test_a_call():
        call()

    def test_a_call_whose_errors_are_swallowed():
        try:
            call()
        except Exception:
            pass

    def test_no_call():
        pass
"""


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "hooktrace.pytest_plugin")


@pytest.fixture
def broken_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise ZeroDivisionError("the probe is broken")

    monkeypatch.setattr(Recorder, "observe_leaves", fail)


def outcomes(pytester: pytest.Pytester, *options: str) -> dict[tuple[str, str], Any]:
    """Run a suite in this process; return by test and phase how it ended and what is shown."""
    reports = pytester.inline_run("-p", "no:cacheprovider", *options).getreports(
        "pytest_runtest_logreport"
    )
    return {
        (one.nodeid, one.when): (one.outcome, getattr(one, "wasxfail", None), one.longreprtext)
        for one in reports
    }


# ------------------------------------------------------------------ what is traced


def test_fixtures_and_tests_run_inside_a_trace(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        INSIDE
        + """
    seen = []

    @pytest.fixture
    def fixture():
        seen.append(inside())
        yield
        seen.append(inside())

    def test_it(fixture):
        seen.append(inside())

    @pytest.mark.no_hooktrace
    def test_what_was_seen(fixture):
        assert seen == [True, True, True, False]
        assert not inside()

    @pytest.mark.no_hooktrace
    class TestLeftOut:
        def test_it(self):
            assert not inside()
    """
    )
    original = nn.Module.__call__
    result = pytester.runpytest_inprocess("--hooktrace", "--strict-markers")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["hooktrace: 1 test ran inside a trace, no probe failed"])
    assert nn.Module.__call__ is original


def test_the_trace_records_the_test(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces: list[ht.Trace] = []
    enter = ht.Trace.__enter__
    monkeypatch.setattr(ht.Trace, "__enter__", lambda self: traces.append(self) or enter(self))
    pytester.makepyfile(CALLS)
    pytester.runpytest_inprocess("--hooktrace").assert_outcomes(passed=3)
    assert [[str(call) for call in t.calls()] for t in traces] == [["Linear@0"], ["Linear@0"], []]
    assert all(t.log.sealed and t.log.copies for t in traces)
    traces.clear()
    pytester.runpytest_inprocess("--hooktrace", "--hooktrace-edits=versions")
    assert len(traces) == 3
    assert not any(t.log.copies for t in traces)


def test_without_the_option_nothing_is_traced_and_the_marker_is_known(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        INSIDE
        + """
    @pytest.mark.no_hooktrace
    def test_it():
        assert not inside()

    def test_that():
        assert not inside()
    """
    )
    result = pytester.runpytest_inprocess("--strict-markers")
    result.assert_outcomes(passed=2)
    assert "hooktrace" not in result.stdout.str().splitlines()[-2]


def test_an_unknown_way_to_trace_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(CALLS)
    result = pytester.runpytest_inprocess("--hooktrace", "--hooktrace-edits=all")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*invalid choice: 'all'*"])


def test_the_plugin_imports_torch_for_the_first_traced_test_only(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
    import sys

    HEAVY = {"torch", "networkx", "msgspec", "numpy", "rich"}

    assert not HEAVY & set(sys.modules)

    def test_it(request):
        traced = request.config.getoption("--hooktrace")
        assert ("torch" in sys.modules) is traced
        assert traced or not HEAVY & set(sys.modules)
    """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
    pytester.runpytest_subprocess("--hooktrace").assert_outcomes(passed=1)


# ------------------------------------------------------------------ nothing is disturbed


@pytest.mark.parametrize("style", ["--tb=long", "--tb=short", "--tb=native"])
def test_every_test_ends_as_without_the_option_and_shows_the_same_traceback(
    pytester: pytest.Pytester, style: str
) -> None:
    pytester.makepyfile(OUTCOMES)
    untraced = outcomes(pytester, style)
    traced = outcomes(pytester, style, "--hooktrace")
    assert list(traced) == list(untraced)
    assert len({nodeid for nodeid, _ in untraced}) == 17
    for key, (outcome, expected, text) in untraced.items():
        assert traced[key][:2] == (outcome, expected), key
        assert plain(traced[key][2]) == plain(text), key
    failed = [nodeid for (nodeid, _), (outcome, _, _) in untraced.items() if outcome == "failed"]
    assert len(failed) == 10


def plain(text: str) -> str:
    """A traceback without addresses, marks of columns, and pluggy's frames, which call us."""
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    text = re.sub(r"^ *[~^]+\n", "", text, flags=re.MULTILINE)
    return re.sub(r'^  File "[^"]*/pluggy/.*\n    .*\n', "", text, flags=re.MULTILINE)


def test_no_frame_of_hooktrace_is_shown_even_if_all_frames_are(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(OUTCOMES)
    shown = [text for _, _, text in outcomes(pytester, "--full-trace", "--hooktrace").values()]
    assert sum("in forward" in text or "def forward" in text for text in shown) == 8
    assert not any(re.search(r"hooktrace/\S+\.py:\d+", text) for text in shown)


def test_warnings_logs_and_output_are_those_of_the_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
    import logging
    import warnings

    import pytest
    import torch
    from torch import nn

    def run():
        x = torch.ones(1, 2, requires_grad=True)
        net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
        net[0].weight.register_hook(lambda grad: grad * 2)
        net(x).sum().backward()

    def test_no_warning(recwarn, caplog, capfd):
        run()
        assert list(recwarn) == []
        assert caplog.records == []
        assert capfd.readouterr() == ("", "")

    def test_an_expected_warning():
        with pytest.warns(UserWarning, match="beware"):
            run()
            warnings.warn("beware")

    def test_a_log(caplog):
        with caplog.at_level(logging.DEBUG):
            run()
            logging.getLogger("here").info("noted")
        assert [record.message for record in caplog.records] == ["noted"]

    @pytest.mark.filterwarnings("ignore:beware")
    def test_an_ignored_warning():
        warnings.warn("beware")
    """
    )
    result = pytester.runpytest_inprocess("--hooktrace", "-W", "error")
    result.assert_outcomes(passed=4)


def test_an_interrupted_test_leaves_no_trace_open(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it():\n    raise KeyboardInterrupt")
    original = nn.Module.__call__
    result = pytester.runpytest_inprocess("--hooktrace", no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert nn.Module.__call__ is original


# ------------------------------------------------------------------ failing probes


@pytest.mark.usefixtures("broken_probe")
def test_a_failing_probe_fails_the_test_when_strict(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(CALLS)
    result = pytester.runpytest_inprocess("--hooktrace")
    result.assert_outcomes(failed=2, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*hooktrace failed while it watched this test:",
            "*ZeroDivisionError: the probe is broken",
            "hooktrace: 3 tests ran inside a trace, 2 probe failures:",
            "  *::test_a_call: *: ZeroDivisionError: the probe is broken",
            "  *::test_a_call_whose_errors_are_swallowed: *: ZeroDivisionError: the probe is *",
        ]
    )


@pytest.mark.usefixtures("broken_probe")
def test_a_failing_probe_is_only_told_when_not_strict(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOKTRACE_STRICT", "0")
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    pytester.makepyfile(CALLS)
    result = pytester.runpytest_inprocess("--hooktrace")
    result.assert_outcomes(passed=3)
    count = re.search(r"3 tests ran inside a trace, (\d+) probe failures:", result.stdout.str())
    assert count is not None
    assert int(count[1]) == result.stdout.str().count("ZeroDivisionError: the probe is broken")


def test_a_probe_that_fails_at_the_end_fails_the_teardown(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(recorder: Recorder) -> None:
        raise ZeroDivisionError("broken at the end")

    monkeypatch.setattr(Recorder, "check_gradients", fail)
    pytester.makepyfile(CALLS)
    result = pytester.runpytest_inprocess("--hooktrace")
    result.assert_outcomes(passed=3, errors=3)
    result.stdout.fnmatch_lines(["hooktrace: 3 tests ran inside a trace, 3 probe failures:"])


def test_what_a_worker_found_is_counted_where_its_reports_are_gathered(
    pytester: pytest.Pytester, pytestconfig: pytest.Config
) -> None:
    pytester.makepyfile(CALLS)
    gathered = Tracing("values", strict=True)
    send: Callable[..., Any] = pytestconfig.hook.pytest_report_to_serializable
    receive: Callable[..., Any] = pytestconfig.hook.pytest_report_from_serializable
    for report in pytester.inline_run("--hooktrace").getreports("pytest_runtest_logreport"):
        data = send(config=pytestconfig, report=report)
        gathered.pytest_runtest_logreport(receive(config=pytestconfig, data=data))
    assert (gathered.tests, gathered.failed) == (3, [])


# ------------------------------------------------------------------ the fixture

LEAKS = """
    import pytest
    from torch import nn
    from torch.nn.modules.module import register_module_forward_hook

    HANDLES = []

    def save(*arguments):
        pass

    @pytest.fixture
    def net(no_leaked_hooks):
        net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        net[0].register_forward_hook(save)
        no_leaked_hooks(net)
        return net

    def test_leaves_one(net):
        net[1].register_forward_hook(save)

    def test_leaves_none(net):
        with net[1].register_forward_hook(save):
            pass

    @pytest.mark.usefixtures("no_leaked_hooks")
    def test_leaves_one_everywhere():
        HANDLES.append(register_module_forward_hook(save))

    @pytest.mark.usefixtures("no_leaked_hooks")
    def test_finds_one_everywhere():
        assert len(HANDLES) == 1

    def test_fails_and_leaves_one(net):
        net[1].register_forward_hook(save)
        assert not net

    def test_leaves_several(net, no_leaked_hooks):
        other = nn.Linear(1, 1)
        no_leaked_hooks(other)
        other.register_forward_hook(save)
        net[1].register_forward_hook(save)

    def test_is_wrong(no_leaked_hooks):
        with pytest.raises(TypeError, match="takes modules, tensors and optimizers"):
            no_leaked_hooks("net")

    def test_removes_the_one_everywhere():
        HANDLES[0].remove()
"""


def test_the_fixture_fails_the_tests_that_leave_hooks_behind(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(LEAKS)
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=7, failed=1, errors=3)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_leaves_one _*",
            "1 hook is registered that was not before:",
            "  forward hook save on 1, defined at *.py:*",
            "*ERROR at teardown of test_leaves_one_everywhere _*",
            "  forward hook save on every module, defined at *",
            "*ERROR at teardown of test_leaves_several _*",
            "2 hooks are registered that were not before:",
            "  forward hook save on 1, *",
            "  forward hook save on Linear, *",
        ]
    )
    result.stdout.no_fnmatch_line("During handling of the above exception*")


def test_the_fixture_tells_inside_a_trace_where_a_hook_was_registered(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(LEAKS)
    result = pytester.runpytest_inprocess("--hooktrace", "-k", "test_leaves_one and not everywhere")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["  forward hook save on 1, defined at *, registered at *"])


def test_the_fixture_imports_nothing_for_tests_without_pytorch(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        import pytest

        pytestmark = pytest.mark.usefixtures("no_leaked_hooks")

        def test_without():
            assert "torch" not in sys.modules

        def test_with():
            assert "torch" not in sys.modules
            from torch.nn.modules.module import register_module_forward_hook
            register_module_forward_hook(print)
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_with *", "*print on every module*"])


# ------------------------------------------------------------------ hooktrace_report

REPORTED = """
    import pytest
    import torch
    from torch import nn

    def step(fails):
        net = nn.Linear(2, 1)
        net.register_forward_hook(lambda module, args, output: output * 2)
        net(torch.ones(1, 2)).sum().backward()
        assert not fails

    @pytest.mark.parametrize("fails", [True, False])
    def test_asks(hooktrace_report, fails):
        step(fails)
        assert len(hooktrace_report.calls()) == 1

    def test_does_not_ask():
        step(True)

    def test_raises_in_a_model(hooktrace_report):
        nn.Linear(2, 1)(torch.ones(1, 3))
"""


def test_the_report_of_a_test_that_fails_shows_its_trace(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(REPORTED)
    result = pytester.runpytest("-p", "no:cacheprovider")
    result.assert_outcomes(failed=3, passed=1)
    text = result.stdout.str()
    assert len(re.findall(r"^-+ hooktrace -+$", text, re.MULTILINE)) == 2
    assert text.count("Trace of Linear: 1 call, 1 hook fired 1 time and changed something") == 1
    assert "Ended early by AssertionError: assert not True" in text
    assert re.search(r"Ended early by RuntimeError: .*, raised in Linear@0 \(Linear\)", text)
    assert [one.name for one in pytester.path.glob("*.txt")] == []


@pytest.mark.parametrize("options", [(), ("--hooktrace",)])
def test_the_option_writes_traces_of_failing_tests_to_a_folder(
    pytester: pytest.Pytester, options: tuple[str, ...]
) -> None:
    pytester.makepyfile(test_it=REPORTED)
    result = pytester.runpytest("-p", "no:cacheprovider", "--hooktrace-report=traces/new", *options)
    result.assert_outcomes(failed=3, passed=1)
    folder = pytester.path / "traces/new"
    files = {one.name: one.read_text() for one in folder.glob("*.txt")}
    saved = {one.stem: ht.load(one) for one in folder.glob("*.hooktrace")}
    assert {f"{name}.txt" for name in saved} == set(files)
    assert len(saved["test_it.py_test_asks_True_"].edits) == 1
    every = {
        "test_it.py_test_asks_True_.txt",
        "test_it.py_test_raises_in_a_model.txt",
        "test_it.py_test_does_not_ask.txt",
    }
    assert set(files) == (every if options else every - {"test_it.py_test_does_not_ask.txt"})
    assert files["test_it.py_test_asks_True_.txt"].startswith(
        "test_it.py::test_asks[True]\n\nTrace of"
    )
    assert all("Doctor:" in text for text in files.values())
    result.stdout.fnmatch_lines(["Saved as *test_asks_True_.hooktrace"])


def test_the_fixture_leaves_pytorch_as_it_was(pytester: pytest.Pytester) -> None:
    before = nn.Module.__call__
    pytester.makepyfile(REPORTED)
    pytester.runpytest("-p", "no:cacheprovider")
    assert nn.Module.__call__ is before
