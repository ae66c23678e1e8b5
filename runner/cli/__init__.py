"""The command line: the only place that reads arguments, prints and exits."""

import signal


def main() -> None:
    """Run the command line and exit with its code."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # Ctrl-C while the modules are read ends the process without a traceback
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from runner.cli.app import run

        run()
    finally:
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, before)


__all__ = ["main"]
