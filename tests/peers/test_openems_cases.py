"""Published cases of OpenEMS on this product: most are the same, and every other one has its reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import run_openems_cases as runner
from published import needs, published

OWN = Path(__file__).parent / "own_cases.json"
CASES, VARIABLE = published("openems_cases.json", "OPENEMS_CASES"), "OPENEMS_CASES"
SAME_SHARE = 0.75


@pytest.fixture(scope="module")
def verdicts():
    return runner.judge_all(runner.load(CASES))


@needs(CASES, VARIABLE)
def test_no_published_case_differs_without_a_reason(verdicts):
    assert [line for v in verdicts if v.unexplained for line in runner.report(v, verbose=True)] == []


@needs(CASES, VARIABLE)
def test_at_least_three_of_four_published_cases_are_the_same(verdicts):
    same = sum(v.outcome is runner.Outcome.Same for v in verdicts)
    assert same / len(verdicts) >= SAME_SHARE, runner.summary(verdicts)


@needs(CASES, VARIABLE)
def test_every_reason_is_still_needed(verdicts):
    reasons = runner.Reasons.load()
    for table, outcome in ((reasons.differs, runner.Outcome.Differs), (reasons.not_mapped, runner.Outcome.NotMapped)):
        for name in table:
            found = {v.outcome for v in verdicts if runner.fnmatchcase(v.id, name) or v.controller == name}
            assert found == {outcome}, f"{name} is listed as {outcome}, and is {found or 'no case'}"


def test_the_runner_tells_what_is_the_same_what_differs_and_what_has_no_counterpart(capsys):
    assert runner.main(["--cases", str(OWN), "--verbose"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "same 1, differs 3, not mapped 2"
    assert any(line.startswith("same        Own.same") for line in lines)
    assert "    step 2: ess0/SetActivePowerEquals is 2500, expected 2600" in lines
    assert "    step 1: total_P is 6000, expected 9000" in lines
    assert not any("ess2" in line for line in lines), "a difference of 1 W is rounding"
    assert "    failed: KeyError: 'maxChangePerCall'" in lines
    assert any(line.startswith("not mapped  Own.unknown") and "Weather.Machine" in line for line in lines)
    assert any(line.startswith("not mapped  Own.input") and "ess0/Mood" in line for line in lines)


def test_a_reason_makes_a_difference_one_that_is_known():
    reasons = runner.Reasons({"Own.differs": "calmer", "Own.solver": "better", "Own.fails": "no excuse"}, {"Own.*": "unheard of"})
    found = {v.id: v for v in runner.judge_all(runner.load(OWN), reasons)}
    assert [name for name, v in found.items() if v.unexplained] == ["Own.fails"]
    assert (found["Own.differs"].reason, found["Own.unknown"].reason) == ("calmer", "unheard of")


def test_the_runner_gives_one_json_object_on_request(capsys):
    assert runner.main(["--cases", str(OWN), "--json", "--only", "Own.s*"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["counts"] == {"same": 1, "differs": 1, "not mapped": 0}
    assert [case["id"] for case in data["cases"]] == ["Own.same", "Own.solver"]


@pytest.mark.parametrize("text", ["", "[]", '{"cases": [{"id": 1}]}', '{"cases": 3}'])
def test_what_is_no_file_of_cases_is_said_to_be_none(text, tmp_path, capsys):
    file = tmp_path / "cases.json"
    file.write_text(text)
    assert runner.main(["--cases", str(file)]) == 2
    assert "is no file of cases" in capsys.readouterr().err
