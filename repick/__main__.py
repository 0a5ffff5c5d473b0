"""`python -m repick`: the command line, where the script is not on the path."""

from repick.cli import main

main()
