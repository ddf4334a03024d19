import os
import signal
import sys

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def stop(number: int, _: object) -> None:
    """End in order: what the command has started ends too, on the way out."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    command = " ".join(["run_all.sh", *sys.argv[1:]])
    os.write(2, f"\nInterrupted: {command}. The same command goes on from here.\n".encode(errors="replace"))
    sys.exit(128 + number)


if __name__ == "__main__":
    for number in SIGNALS:  # before the imports, which take a second
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # run_all.sh lets them wait until here
    from companion.packages import missing

    if (remedy := os.environ.get("LATENTNAS_REMEDY")) and (absent := missing("run")):
        sys.exit(f"{sys.executable} has no {', '.join(absent)}. {remedy}")
    from companion.cli import main

    sys.exit(main(sys.argv[1:]))
