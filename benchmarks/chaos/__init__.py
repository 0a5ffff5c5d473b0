"""Faults put into real processes, and what became of the jobs: `python -m benchmarks.chaos`.

function.py   the score that a pair must get, a pure function of its texts
worker.py     the real worker around that function: slow, with a log of its calls, and poisonable
plan.py       which fault when, from a seed
proxy.py      a broker's address that can fall silent
stack.py      the processes, started again whenever they die, and the faults done to them
client.py     submits until accepted, and writes down what was promised
rescue.py     how long a slice whose worker was lost waited for another
verdict.py    what the database says in the end, against the function and the promises
"""
