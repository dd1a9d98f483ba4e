"""A client program whose output is read while it runs."""

import subprocess
import threading

from environment import TIME_FACTOR, wait_until


class Program:
    """Subclasses say the command and READY: what the program prints once the session stands."""

    READY = None

    def __init__(self, command):
        self.command = [str(word) for word in command]
        self.output = b""
        self._process = subprocess.Popen(self.command, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        while chunk := self._process.stdout.read1(65536):
            self.output += chunk

    def expect(self, text, timeout_s=10.0):
        """Waits until the text was printed; fails at once if the program ends without it."""
        text = text.encode() if isinstance(text, str) else text

        def printed():
            ended = self._process.poll() is not None
            if ended:
                self._reader.join()
            assert not ended or text in self.output, (
                f"{self.command[0]} ended with {self._process.returncode} "
                f"before {text!r}:\n{self.output.decode(errors='replace')}")
            return text in self.output
        try:
            wait_until(printed, f"{text!r} of {self.command[0]}", timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output.decode(errors='replace')}") from None

    def wait_ready(self):
        self.expect(self.READY)
        return self

    def say(self, text):
        """One line to the program's standard input."""
        self._process.stdin.write(text.encode() + b"\n")
        self._process.stdin.flush()

    def wait_end(self, timeout_s=10.0):
        """Waits for the program's own end; returns (exit status, output)."""
        status = self._process.wait(timeout=timeout_s * TIME_FACTOR)
        self._reader.join()
        return status, self.output.decode(errors="replace")

    def end_input(self):
        self._process.stdin.close()

    def is_running(self):
        return self._process.poll() is None

    def kill(self):
        """Ends it without a goodbye, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
