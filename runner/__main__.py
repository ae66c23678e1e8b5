"""`python -m runner`: the same as the command `rule-runner`."""

from runner.cli import main

if __name__ == "__main__":
    main()
