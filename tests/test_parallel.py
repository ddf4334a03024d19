"""Tasks side by side: the same answers in any number of processes, none done twice, damaged files made again."""

import os
import subprocess
import sys
import time

import psutil
import pytest
import torch

from companion import runner
from latentnas.parallel import side_by_side


def power(base, exponent):
    return base**exponent


TASKS = {("two", n): (2, n) for n in range(6)}
POWERS = {("two", n): 2**n for n in range(6)}


@pytest.mark.parametrize("jobs", [1, 2])
def test_answers_come_in_the_order_of_the_tasks(jobs):
    answers = side_by_side(power, TASKS, jobs)
    assert answers == POWERS and list(answers) == list(TASKS)


@pytest.mark.parametrize("jobs", [1, 2])
def test_each_task_has_one_thread_and_the_caller_keeps_its_own(jobs):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert side_by_side(torch.get_num_threads, {"threads": ()}, jobs) == {"threads": 1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_what_is_done_is_not_done_again(tmp_path):
    done = []

    def square(number):
        if number == 3 and len(done) == 3:
            raise KeyboardInterrupt
        done.append(number)
        return number**2

    tasks = {number: (number,) for number in range(5)}
    with pytest.raises(KeyboardInterrupt):
        side_by_side(square, tasks, folder=tmp_path)
    assert done == [0, 1, 2]
    done.append("again")
    assert side_by_side(square, tasks, folder=tmp_path) == {number: number**2 for number in range(5)}
    assert done == [0, 1, 2, "again", 3, 4]
    assert len(list(tmp_path.iterdir())) == 5


def test_a_damaged_file_is_set_aside_and_made_again(tmp_path, capsys):
    tasks = {("a b", 1): (1, 2)}
    expected = side_by_side(power, tasks, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    assert file.name == "power-a b-1.json"
    whole = file.read_bytes()
    other_answer = whole.replace(b'"answer": 1', b'"answer": 7')
    assert other_answer != whole
    for damaged in (b"", b"[1, 2", b"\xff", b"3", b"[3]", b"{}", other_answer):
        file.write_bytes(damaged)
        assert side_by_side(power, tasks, folder=tmp_path) == expected
        assert "is damaged" in capsys.readouterr().err and file.with_name(f"{file.name}.damaged").exists()


def test_an_answer_that_is_not_plain_is_refused_and_not_kept(tmp_path):
    with pytest.raises(TypeError, match="Tensor"):
        side_by_side(torch.ones, {2: (2,)}, folder=tmp_path)
    assert not list(tmp_path.iterdir())
    assert side_by_side(torch.ones, {2: (2,)})[2].tolist() == [1, 1]


def test_two_tasks_of_one_file_are_refused(tmp_path):
    with pytest.raises(ValueError, match="same file"):
        side_by_side(power, {("a", "b-c"): (1, 1), ("a-b", "c"): (1, 2)}, folder=tmp_path)


@pytest.mark.slow
def test_processes_end_with_a_caller_that_is_killed(tmp_path):
    program = f"""
import os, pathlib, time
from latentnas.parallel import side_by_side

def wait(number):
    pathlib.Path({str(tmp_path)!r}, str(os.getpid())).touch()
    time.sleep(1000)

side_by_side(wait, {{number: (number,) for number in range(2)}}, 2)
"""
    variables = os.environ | {"PYTHONPATH": runner.library_path()}
    with subprocess.Popen([sys.executable, "-c", program], env=variables) as caller:
        while len(found := [*tmp_path.iterdir()]) < 2:
            assert caller.poll() is None
            time.sleep(0.1)
        workers = [psutil.Process(int(file.name)) for file in found]
        caller.kill()  # and nobody reaps it yet
        assert not psutil.wait_procs(workers, timeout=300)[1]
