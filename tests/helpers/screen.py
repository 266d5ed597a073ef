"""A terminal with a program on it, and what is on its screen."""

import os
import pty
import select
import signal
import termios
import time

import pyte


class Screen:
    """A terminal of a size; the program's bytes are kept, and shown by an emulator."""

    def __init__(self, argv, environment, *, columns=80, rows=24, directory=None, echo=True):
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.sent = b""
        self.alive = True
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            termios.tcsetwinsize(0, (rows, columns))
            attributes = termios.tcgetattr(0)
            if not echo:
                attributes[3] &= ~termios.ECHO
            termios.tcsetattr(0, termios.TCSANOW, attributes)
            if directory is not None:
                os.chdir(directory)
            os.execve(argv[0], [str(word) for word in argv], {"TERM": "xterm", **environment})

    @property
    def lines(self):
        return [line.rstrip() for line in self.screen.display if line.rstrip()]

    @property
    def text(self):
        return "\n".join(self.lines)

    @property
    def colours(self):
        return {cell.fg for row in self.screen.buffer.values() for cell in row.values()} - {"default"}

    def read(self, seconds):
        deadline = time.monotonic() + seconds
        while self.alive and time.monotonic() < deadline:
            if select.select([self.master], [], [], 0.02)[0]:
                try:
                    chunk = os.read(self.master, 65536)
                except OSError:
                    chunk = b""
                self.alive = bool(chunk)
                self.sent += chunk
                self.stream.feed(chunk)

    def wait_for(self, wanted, timeout=60):
        """Read until a text is on the screen."""
        self.wait_until(lambda: wanted in self.text, repr(wanted), timeout)

    def wait_until(self, fact, what="it", timeout=60):
        """Read until something holds of what is on the screen; a row that is being drawn anew is not there for a moment."""
        deadline = time.monotonic() + timeout
        while not fact():
            assert self.alive, f"ended without {what}:\n{self.text}"
            assert time.monotonic() < deadline, f"{what} did not come:\n{self.text}"
            self.read(0.05)

    def type(self, text):
        os.write(self.master, text.encode())

    def end(self, timeout=60):
        """Read to the end and give the exit code."""
        self.read(timeout)
        return self.close()

    def close(self, timeout=60):
        """Close the terminal, as a user closes a window, and give the exit code."""
        os.close(self.master)
        deadline = time.monotonic() + timeout
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() >= deadline:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError(f"it did not end within {timeout} s")
            time.sleep(0.02)
