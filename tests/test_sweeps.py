"""The record of a sweep: jobs side by side, and jobs made again."""

from concurrent.futures import ThreadPoolExecutor

from erp.files import read_json
from erp.sweeps import record_in_sweep


def test_jobs_recorded_from_eight_threads_are_all_there(tmp_path):
    def record(job):
        return record_in_sweep(tmp_path, "abc", job, {"run": f"run{job % 5}", "status": "ok"})

    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(record, reversed(range(40))))
    assert paths == {tmp_path / "sweeps" / "abc.json"}
    content = read_json(tmp_path / "sweeps" / "abc.json")
    assert list(content["jobs"]) == [str(job) for job in range(40)]
    assert content["sweep"] == "abc"
    assert content["runs"] == [f"run{i}" for i in range(5)]


def test_a_job_recorded_again_replaces_itself_and_one_without_a_folder_lists_no_run(tmp_path):
    record_in_sweep(tmp_path, "s", 0, {"run": None, "status": "failed"})
    record_in_sweep(tmp_path, "s", 10, {"run": "b", "status": "ok"})
    path = record_in_sweep(tmp_path, "s", 2, {"run": "a", "status": "failed"})
    assert read_json(path)["runs"] == ["a", "b"]
    record_in_sweep(tmp_path, "s", 0, {"run": "c", "status": "ok"})
    assert read_json(path)["runs"] == ["c", "a", "b"]
    assert read_json(path)["jobs"]["0"] == {"run": "c", "status": "ok"}
