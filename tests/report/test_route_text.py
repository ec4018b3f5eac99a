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
