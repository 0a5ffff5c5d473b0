"""The command line.

app.py      the commands at the top: up, models, migrate
corpus.py   repick corpus …
job.py      repick job …
key.py      repick key …
doctor.py   repick doctor
connect.py  where the API and the database are, and with which key
output.py   tables for people, JSON for programs
"""

from repick.cli.app import main

__all__ = ["main"]
