import pytest

from erp.programs.route import as_text


def test_a_name_with_line_breaks_keeps_a_line_per_prompt():
    names = ("a\nb\x1b[31m", "c\r\td")
    answer = {
        "line": 1, "prompt": "p", "member": names[0], "predicted_reward": 0.5, "predicted_cost": 1.0,
        "cost_unit": "tokens per prompt",
        "members": {name: {"predicted_reward": 0.5, "predicted_cost": 1.0} for name in names},
    }  # fmt: skip
    line = as_text(answer)
    assert len(line.splitlines()) == 1
    assert line.split("\t")[1] == "a b\ufffd[31m"
    assert line.count("\t") == 4
    assert "\x1b" not in line


@pytest.mark.parametrize(("scale", "written"), [(1.0, ("0.5000", "-0.2500")), (1e-6, ("5.000e-07", "-2.500e-07"))])
def test_rewards_of_small_units_keep_their_digits(scale, written):
    answer = {
        "line": 1, "prompt": "p", "member": "a", "predicted_reward": 0.5 * scale, "predicted_cost": 1.0,
        "cost_unit": "tokens per prompt",
        "members": {
            name: {"predicted_reward": reward * scale, "predicted_cost": 1.0}
            for name, reward in (("a", 0.5), ("b", -0.25))
        },
    }  # fmt: skip
    _, _, chosen, _, listed = as_text(answer).split("\t")
    assert chosen == written[0]
    assert listed == f"a {written[0]} (1)  b {written[1]} (1)"
